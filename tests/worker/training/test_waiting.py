from threading import Event

from worker.training.waiting import Waiting


def test_a_wait_is_told_of_until_it_is_over() -> None:
    said: list[str] = []
    heard = Event()
    now_s = iter([100.0, *[180.0] * 1000])

    def say(line: str) -> None:
        said.append(line)
        if len(said) > 1:
            heard.set()

    with Waiting("reading", say=say, now_s=lambda: next(now_s), every_s=0.001) as waiting:
        assert heard.wait(30)
        waiting.over()
        num_said = len(said)
    assert said[:2] == ["reading", "reading: 80 s so far"]
    assert len(said) == num_said
