import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pipeline.camera_id import is_camera_id
from pipeline.sources.record import RecordError, camera_of
from worker.values import Slug


def is_key(text: str) -> bool:
    try:
        return camera_of(text.encode()) == text
    except RecordError:
        return False


def is_setting(text: str) -> bool:
    try:
        return TypeAdapter(Slug).validate_python(text) == text
    except ValidationError:
        return False


@pytest.mark.parametrize("text", ["gate", "a", "0", "gate-2_north", "x" * 64])
def test_a_lower_case_slug_is_a_camera_id(text: str) -> None:
    assert is_camera_id(text)
    assert is_key(text)
    assert is_setting(text)


@pytest.mark.parametrize("text", ["", "-x", "_x", "Gate", "a b", "gate\n", "x" * 65, "tür", "a/b"])
def test_anything_else_is_none_to_kafka_or_to_the_settings(text: str) -> None:
    assert not is_camera_id(text)
    assert not is_key(text)
    assert not is_setting(text)


@given(st.text(alphabet="az09_-A \n/ü", max_size=70))
def test_kafka_and_the_settings_agree_on_every_text(text: str) -> None:
    assert is_key(text) == is_setting(text) == is_camera_id(text)
