"""What tests share that build a whole worker within this process."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def threads_as_before() -> Iterator[None]:
    """A worker sets how many threads torch has, for the process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
