from fractions import Fraction

import pytest

from pipeline.sources.file import FileSource
from pipeline.sources.kafka import KafkaSource
from pipeline.sources.rtsp import RtspSource
from pipeline.sources.shape import Shape
from pipeline.types import Overflow, Receipt, RecordPlace, tell_nobody
from tests.fakes import FakeClock
from worker.feeds import _CAMERA_FEEDS, feeds_of, kafka_config, past_of
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
        ("file:///clips/gate%20one.mp4", FileSource),
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


def test_a_connection_to_a_topic_knows_what_the_one_before_knew_of_its_cameras() -> None:
    settings = Settings.model_validate({"kafka": {"bootstrap_servers": "127.0.0.1:1"}})
    (topic,) = feeds_of(settings, clock=FakeClock())
    before, after = (topic.build(lambda _id, _pts_s: True, tell_nobody) for _ in range(2))
    assert isinstance(before, KafkaSource)
    assert isinstance(after, KafkaSource)
    assert before._silence is after._silence


def test_a_camera_of_a_topic_has_its_shape_and_the_topic_its_largest_picture() -> None:
    settings = Settings.model_validate(
        {
            "cameras": {"gate": {"aspect": "16:9", "rotate": 90}},
            "kafka": {"bootstrap_servers": "127.0.0.1:1", "max_pixels": 1_000_000},
        }
    )
    config = kafka_config(settings)
    assert config.shapes == {"gate": Shape(Fraction(16, 9), 90)}
    assert config.max_pixels == 1_000_000


def test_an_id_has_one_door_so_that_a_lost_broker_marks_its_own_cameras_alone() -> None:
    """A key equal to an RTSP camera's id made that camera `offline` when the broker went."""
    settings = Settings.model_validate(
        {
            "cameras": {"gate": {}, "yard": {"url": "rtsp://10.0.0.5/stream"}},
            "kafka": {
                "bootstrap_servers": "127.0.0.1:1",
                "overflow": "latest",
                "only_configured": True,
            },
        }
    )
    config = kafka_config(settings)
    assert config.camera_ids == {"gate"}
    assert config.elsewhere == {"yard"}
    assert config.only_configured
    assert config.overflow is Overflow.LATEST
    assert config.stall_after_s == 15.0


@pytest.mark.parametrize(
    ("kafka", "has_past"),
    [
        ({"bootstrap_servers": "127.0.0.1:1"}, True),
        ({"bootstrap_servers": "127.0.0.1:1", "rebuild": "none"}, False),
        ({}, False),
    ],
)
def test_windows_are_rebuilt_from_the_topic_unless_that_is_turned_off(
    kafka: dict[str, str], *, has_past: bool
) -> None:
    settings = Settings.model_validate({"kafka": kafka, "window": "60s"})
    past = past_of(settings, clock=FakeClock(), masked=lambda frame: frame, together=1)
    assert (past.group(Receipt(RecordPlace("frames", 0, 7))) is not None) == has_past
    assert kafka_config(settings).whole_every_s == 30.0, "what vigil ingest may leave out, and more"
    past.close()
