"""What tests share that build a whole worker in this process, or what of it talks to Redis."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.worker.shared_camera import Member, New, Site


@pytest.fixture
def threads_as_before() -> Iterator[None]:
    """A worker sets how many threads torch has, for the process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def new(redis_url: str, site: Site) -> Iterator[New]:
    """Start workers that share a camera; they end with the test."""
    with ExitStack() as stack:

        def make(name: str, path: Path | None = None, **options: Any) -> Member:
            member = Member(redis_url, path, name=name, site=site, **options)
            return stack.enter_context(closing(member))

        yield make
