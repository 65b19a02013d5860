from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.record import RecordError, camera_of, captured_at

NOON = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
NOON_MS = 1_772_366_400_250


@pytest.mark.parametrize("key", [b"gate", b"a", b"gate-2_north", b"0-", b"x" * 64])
def test_key_is_the_camera_id(key: bytes) -> None:
    assert camera_of(key) == key.decode()


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"Gate",
        b"a b",
        b"gate\n",
        b"x" * 65,
        "tür".encode(),
        b"\xff\xfe",
        b"a/b",
        b"-x",
        b"_x",
    ],
)
def test_a_key_that_is_no_slug_is_refused(key: bytes) -> None:
    with pytest.raises(RecordError, match=r"expected a key of \[a-z0-9\]\S+, got b") as bad:
        camera_of(key)
    assert bad.value.reason == "bad_key"


def test_a_missing_key_is_refused() -> None:
    with pytest.raises(RecordError, match="expected the camera id as key, got none") as bad:
        camera_of(None)
    assert bad.value.reason == "no_key"


@pytest.mark.parametrize(
    "value",
    [
        b"2026-03-01T12:00:00.250Z",
        b"2026-03-01t12:00:00.25z",
        b"2026-03-01T13:00:00.250000000+01:00",
        b"1772366400250",
    ],
)
def test_header_says_when_a_frame_was_captured(value: bytes) -> None:
    assert captured_at([("captured-at", value)], timestamp_ms=1) == NOON


def test_record_time_stands_in_for_the_header() -> None:
    assert captured_at([("other", b"x")], timestamp_ms=NOON_MS) == NOON


def test_last_header_counts() -> None:
    headers = [("captured-at", b"yesterday"), ("captured-at", b"1772366400250")]
    assert captured_at(headers, timestamp_ms=1) == NOON


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"yesterday",
        b"2026-03-01",
        b"2026-03-01T12:00:00",
        b"2026-13-01T12:00:00Z",
        b"1772366400",
        b"1772366400250000000",
        b"-5",
        "١٧٧٢٣٦٦٤٠٠٢٥٠".encode(),
        b"0001-01-01T00:00:00+23:59",
        b"\xff",
    ],
)
def test_a_header_that_is_no_time_is_refused(value: bytes | None) -> None:
    with pytest.raises(RecordError, match="captured-at header: expected RFC 3339") as bad:
        captured_at([("captured-at", value)], timestamp_ms=NOON_MS)
    assert bad.value.reason == "bad_captured_at"


@pytest.mark.parametrize("timestamp_ms", [-1, 0])
def test_a_record_without_any_time_is_refused(timestamp_ms: int) -> None:
    with pytest.raises(RecordError, match="record time: expected"):
        captured_at([], timestamp_ms=timestamp_ms)


@given(
    st.datetimes(
        min_value=datetime(2000, 1, 2),  # noqa: DTZ001 (hypothesis wants it naive)
        max_value=datetime(9998, 1, 1),  # noqa: DTZ001
    ),
    st.integers(-23 * 60, 23 * 60),
)
def test_any_rfc_3339_time_is_read_back(moment: datetime, offset_min: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    read = captured_at([("captured-at", aware.isoformat().encode())], timestamp_ms=0)
    assert read == aware
    assert read.tzinfo is UTC


@given(st.one_of(st.none(), st.binary(max_size=40)))
def test_any_header_is_a_time_or_refused(value: bytes | None) -> None:
    try:
        moment = captured_at([("captured-at", value)], timestamp_ms=0)
    except RecordError:
        return
    assert moment.tzinfo is UTC
