import pytest

from pipeline.caption_gate import CaptionGate

WHOLE = 64


def opened(gate: CaptionGate, *frames: tuple[bool, int]) -> list[bool]:
    """For frames of (is due, tokens sent) whether a caption is written."""
    found = []
    for is_due, num_sent in frames:
        gate.note(num_sent=num_sent)
        found.append(gate.is_open(is_due=is_due, num_tokens=WHOLE, worth=None))
    return found


def spoken(*worths: float | None, stretch: int = 1) -> list[bool]:
    gate = CaptionGate("model")
    return [
        gate.is_open(is_due=False, num_tokens=WHOLE, worth=worth, stretch=stretch)
        for worth in worths
    ]


def test_periodic_captions_come_when_they_are_due() -> None:
    frames = [(True, WHOLE), (False, WHOLE), (True, 0)]
    assert opened(CaptionGate("periodic"), *frames) == [True, False, True]


def test_news_waits_until_an_eighth_of_a_picture_is_new() -> None:
    gate = CaptionGate("news")
    assert opened(gate, (True, WHOLE)) == [True]
    quiet = [(False, 1), (True, 1), (False, 1), (True, 1)]
    assert opened(gate, *quiet) == [False] * 4
    assert opened(gate, (False, 4)) == [True]  # eight in all, and it was due before
    assert opened(gate, (False, WHOLE), (True, 0)) == [False, True]  # not before it is due


def test_the_first_frame_is_described_whatever_the_way() -> None:
    for when in ("news", "model"):
        gate = CaptionGate(when)
        assert opened(gate, (False, WHOLE), (False, 0)) == [True, False]
        gate.reset()
        assert opened(gate, (False, WHOLE)) == [True]


def test_the_model_speaks_once_until_its_p_has_fallen() -> None:
    assert spoken(0.1, 0.69, 0.7, 0.9, 0.5, 0.8, 0.4, 0.6, 0.71) == [
        *(True, False),  # the first frame, and one below the threshold
        *(True, False, False, False),  # 0.5 and 0.8: it has not fallen far enough
        *(False, False, True),
    ]


def test_under_load_it_speaks_once_of_so_many_times() -> None:
    waves = [0.1, *[0.9, 0.1] * 6]
    assert sum(spoken(*waves)[1:]) == 6
    assert sum(spoken(*waves, stretch=3)[1:]) == 2


@pytest.mark.parametrize("worth", [0.95, None])
def test_a_first_frame_that_is_worth_it_is_described_once(worth: float | None) -> None:
    assert spoken(worth, worth, worth) == [True, False, False]
