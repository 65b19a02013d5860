import base64
import hashlib

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
        ("rtsp://user:a/b@host/cam@1", "user:a/b"),
        ("rtsp://admin:c@n:ary#?x/1@host:554/x", "admin:c@n:ary#?x/1"),
        ("rtsp://[::1]/a@b", None),
        ("rtsp://[fe80::1%25eth0]:554/a@b", None),
        ("rtsp://user:pw@[::1]/a@b", "user:pw"),
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


@pytest.mark.parametrize(
    "text",
    [
        "3 frames at 10:00, mail me@example",
        "rtsp://host:554/Streaming/Channels/101?transportmode=unicast&profile=Profile_1",
        "rtsp://host/cam/realmonitor?channel=1&subtype=0",
        "rtsp://host/h264Preview_01_main",
        "rtsp://host:8554/live/front-door-camera_2.sdp",
        "https://huggingface.co/DAMO-NLP-SG/VideoLLaMA3-2B",
        "VIGIL_MODEL__MAX_TOKENS_PER_FRAME=144",
    ],
)
def test_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("text", ["user:{}@10.0.0.5/s", "rtsp:/user:{}@cam/s", "not '{0}:{0}@h'"])
def test_an_address_without_its_scheme_loses_its_password(text: str) -> None:
    assert "canary" not in redact(text.format("canary"))


SECRET_NAMES = [
    "access_token",
    "accessToken",
    "api_key",
    "apikey",
    "X-Api-Key",
    "sig",
    "signature",
    "token",
    "auth",
    "key",
    "pwd",
    "password",
    "passwd",
    "pass",
    "secret",
    "client_secret",
    "user",
    "usr",
    "username",
    "u",
    "p",
    "pin",
    "session",
    "sessionid",
    "sid",
    "jwt",
    "loginuse",
    "loginpas",
    "Key-Pair-Id",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "hmac",
    "ticket",
]


@given(
    st.sampled_from(SECRET_NAMES),
    st.text("abcXYZ0189!*()._~%|-$+,:[]{}", min_size=4, max_size=40),
    st.sampled_from(
        ["rtsp://h/s?{}={}", "rtsps://h/s?fps=5&{}={}&a=1", "/s?a=1;{}={}", "?{}={} is"]
    ),
)
def test_no_secret_parameter_survives(name: str, value: str, text: str) -> None:
    clean = redact(text.format(name, value))
    assert value not in clean
    assert f"{name}=***" in clean


@given(
    st.one_of(
        st.uuids().map(str),
        st.binary(min_size=16, max_size=32).map(bytes.hex),
        st.binary(min_size=1).map(lambda seed: base64_token(seed)),
    ),
    st.sampled_from(["rtsps://h:7441/{}?enableSrtp", "rtsp://h/a/{}/b", "rtsp://h/a?stream={}"]),
)
def test_no_random_path_or_value_survives(token: str, url: str) -> None:
    """UniFi Protect and others put the right to see a camera into its path."""
    address = url.format(token)
    assert token not in redact(address)
    assert token not in redact(f"cannot open {token}", *url_secrets(address))


def base64_token(seed: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(seed).digest()[:18]).decode()


def test_a_parameter_in_a_path_is_masked() -> None:
    url = "rtsp://h/user=admin&password=can_ary&channel=1&stream=0.sdp?real_stream"
    assert redact(url) == "rtsp://h/user=***&password=***&channel=1&stream=0.sdp?real_stream"
    url = "rtsp://h/user=admin_password=can_ary_channel=1_stream=0.sdp"
    assert redact(url) == "rtsp://h/user=***_password=***_channel=1_stream=0.sdp"


def test_a_token_of_the_hub_is_masked_wherever_it_stands() -> None:
    assert redact("401 for hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345") == "401 for ***"


@given(
    st.text(min_size=4, max_size=20).filter(lambda s: s.strip() and "/" not in s),
    st.sampled_from(["failed: {}", "'{}'", '"{}" refused', "{}"]),
)
def test_no_password_survives(password: str, sentence: str) -> None:
    url = f"rtsp://admin:{password}@10.0.0.5:554/stream"
    clean = redact(sentence.format(url), *url_secrets(url))
    remainder = clean.replace("***", "")
    assert password not in remainder or password in sentence + "rtsp://@10.0.0.5:554/stream"
