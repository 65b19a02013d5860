"""What an evaluation hears of a worker is all that the worker has said."""

from contextlib import closing
from pathlib import Path
from threading import Event

from pipeline.outbox import Outbox
from tests.pipeline.publishers.lane import message
from worker.evaluation.labelled.listening import Listener


def test_what_is_put_between_the_last_look_and_the_stop_is_heard(tmp_path: Path) -> None:
    stop, listener = Event(), Listener()
    with closing(Outbox(tmp_path / "outbox.db", max_bytes=1 << 20)) as outbox:

        def works() -> bool:
            if not stop.is_set():  # it has just looked, and nothing was there
                outbox.put([message("answer", "yes")])
                stop.set()
            return False

        listener.run(outbox, stop, works=works)
        assert [data["answer"] for data in listener.heard("answer")] == ["yes"]
        assert outbox.num_waiting == 0
