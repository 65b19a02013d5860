"""What every test stands on: Hypothesis profiles, a clean environment, real servers."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.servers.redis", "tests.servers.kafka", "tests.servers.rtsp"]

settings.register_profile(
    "dev", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "ci",
    max_examples=200,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

VIDEOS = Path(__file__).resolve().parents[2] / "shared" / "videos"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No VIGIL_ variable of the developer's shell reaches a test."""
    for name in list(os.environ):
        if name.startswith("VIGIL_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def vtest_video() -> Path:
    """Pedestrians crossing a yard, 768x576, 10 fps, 79.5 s, MPEG-4."""
    path = VIDEOS / "vtest.avi"
    if not path.exists():
        pytest.skip(f"{path} is not there: the clips lie beside the checkout")
    return path
