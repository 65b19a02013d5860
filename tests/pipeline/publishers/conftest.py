"""An outbox and a publisher of it, for the tests of Redis."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.outbox import Outbox
from tests.fakes import Recorder
from tests.pipeline.publishers.lane import Lane


@pytest.fixture
def outbox(tmp_path: Path, observer: Recorder) -> Iterator[Outbox]:
    with closing(Outbox(tmp_path / "outbox.db", max_bytes=1 << 20, observer=observer)) as box:
        yield box


@pytest.fixture
def lane(redis_url: str, outbox: Outbox) -> Iterator[Lane]:
    lane = Lane(redis_url, outbox)
    yield lane
    lane.publisher.close()
