"""What most tests of the pipeline stand on."""

import pytest

from tests.fakes import FakeClock, Recorder


@pytest.fixture
def observer() -> Recorder:
    return Recorder()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
