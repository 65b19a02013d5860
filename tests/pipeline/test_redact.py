import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.redact import encode_credentials, redact, split_credentials, url_secrets

CANARY = "ca@na:r#y%?"


@pytest.mark.parametrize(
    ("url", "userinfo"),
    [
        ("rtsp://host/stream", None),
        ("rtsp://host:554/cam@1", None),
        ("rtsp://user:pw@host:554/stream", "user:pw"),
        ("rtsp://user:p@ss@host/cam@1", "user:p@ss"),
        ("rtsp://user:p%40ss@host/", "user:p%40ss"),
        ("rtsp://user:a/b@host/x", "user:a/b"),
        ("redis://:pw@host:6379/0", ":pw"),
        ("/var/lib/clip.mp4", None),
    ],
)
def test_userinfo_is_what_stands_before_the_last_at_of_the_authority(
    url: str, userinfo: str | None
) -> None:
    assert split_credentials(url)[1] == userinfo


def test_special_characters_are_encoded_once() -> None:
    raw = encode_credentials(f"rtsp://admin:{CANARY}@cam/live")
    assert raw == "rtsp://admin:ca%40na%3Ar%23y%25%3F@cam/live"
    assert encode_credentials(raw) == raw


def test_a_driver_text_with_the_url_loses_the_password() -> None:
    url = f"rtsp://admin:{CANARY}@cam/live"
    for text in (
        f"[Errno 111] Connection refused: '{url}'",
        f"cannot open {encode_credentials(url)} now",
        f"password={CANARY}",
    ):
        clean = redact(text, *url_secrets(url))
        assert CANARY not in clean
        assert "ca%40na" not in clean


def test_secret_query_values_go_and_the_rest_stays() -> None:
    assert redact("http://h/s?token=abc&fps=5") == "http://h/s?token=***&fps=5"


def test_text_without_secrets_stays_as_it_is() -> None:
    text = "3 frames at 10:00, mail me@example"
    assert redact(text) == text


@given(
    st.text(min_size=4, max_size=20).filter(lambda s: s.strip() and "/" not in s),
    st.sampled_from(["failed: {}", "'{}'", '"{}" refused', "{}"]),
)
def test_no_password_survives(password: str, sentence: str) -> None:
    url = f"rtsp://admin:{password}@10.0.0.5:554/stream"
    clean = redact(sentence.format(url), *url_secrets(url))
    remainder = clean.replace("***", "")
    assert password not in remainder or password in sentence + "rtsp://@10.0.0.5:554/stream"
