import pytest

from pipeline.sources.file import FileSource
from pipeline.sources.kafka import KafkaSource
from pipeline.sources.rtsp import RtspSource
from pipeline.types import Overflow, tell_nobody
from tests.fakes import FakeClock
from worker.feeds import _CAMERA_FEEDS, feeds_of
from worker.parts import Feed, Retry
from worker.settings import Settings
from worker.site_settings import CAMERA_SOURCES

LIMITS = {"open_timeout": 3.0, "read_timeout": 4.0, "retry_base": 1.0, "retry_cap": 8.0}


def feed_of(**camera: object) -> Feed:
    settings = Settings.model_validate({"cameras": {"gate": camera}, "rtsp": LIMITS})
    (feed,) = feeds_of(settings, clock=FakeClock())
    return feed


def test_every_source_that_settings_allow_is_built() -> None:
    assert set(_CAMERA_FEEDS) == set(CAMERA_SOURCES.values())


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("rtsp://10.0.0.5/stream", RtspSource),
        ("RTSPS://10.0.0.5/stream", RtspSource),
        ("clips/gate.mp4", FileSource),
    ],
)
def test_an_address_says_by_its_scheme_what_it_is(url: str, source: type) -> None:
    feed = feed_of(url=url)
    assert isinstance(feed.build(lambda _camera_id, _pts_s: True, tell_nobody), source)
    assert (feed.name, feed.camera_ids) == ("gate", ("gate",))
    assert feed.overflow is Overflow.LATEST
    assert feed.retry == Retry(base_s=1.0, cap_s=8.0)
    assert feed.stuck_after_s == 14.0


def test_a_file_ends_unless_it_is_looped_and_is_held_back_unless_it_is_live() -> None:
    assert not feed_of(url="gate.mp4").is_endless
    assert feed_of(url="gate.mp4", loop=True).is_endless
    assert feed_of(url="gate.mp4", live=False).overflow is Overflow.WAIT


def test_a_topic_carries_the_cameras_without_an_address_and_may_be_silent_for_ever() -> None:
    settings = Settings.model_validate(
        {
            "cameras": {"gate": {}, "yard": {"url": "yard.mp4"}},
            "kafka": {"bootstrap_servers": "127.0.0.1:1", "topic": "frames"},
        }
    )
    _yard, topic = feeds_of(settings, clock=FakeClock())
    assert isinstance(topic.build(lambda _camera_id, _pts_s: True, tell_nobody), KafkaSource)
    assert topic.camera_ids == ("gate",)
    assert topic.overflow is Overflow.WAIT
    assert topic.stuck_after_s is None
