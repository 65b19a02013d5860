"""Where pictures of events are made, by the settings."""

from pathlib import Path

from pipeline.observer import UNOBSERVED
from worker.demo.show import SCENE
from worker.evaluation.labelled.footage import Clip
from worker.evaluation.labelled.footage import settings_for as played
from worker.evidence import evidence_of, keeping
from worker.settings import Settings
from worker.try_settings import settings_for as tried


def test_they_are_made_for_a_day_unless_that_is_turned_off() -> None:
    assert Settings().evidence.keep == 24 * 3600
    assert evidence_of(Settings(), UNOBSERVED) is not None
    off = Settings.model_validate({"evidence": {"keep": "0s"}})
    assert evidence_of(off, UNOBSERVED) is None
    assert keeping(off, UNOBSERVED).shelf.keep_s == 0


def test_none_are_made_where_nobody_would_read_them() -> None:
    assert tried(str(SCENE), asks=["Is it open?"], model="nano").evidence.keep == 0
    clip = Clip("yard", Path("yard.mp4"), "yard")
    assert played(Settings(), clip, questions={}).evidence.keep == 0
