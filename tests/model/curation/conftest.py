"""Ray, and small networks, made once: both take seconds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torch

from model.curation import on_ray
from model.curation.demo import small_models


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """Ray on this machine, two workers, nothing reported to anyone.

    It ends with the file that asked for it: other files start it, or see that it does not start.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        with on_ray.session(2):
            assert ray.is_initialized()
            yield
    assert not ray.is_initialized()


@pytest.fixture(scope="session")
def small_networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIP, an aesthetic head and BLIP-2 that have learned for a few seconds."""
    folder = tmp_path_factory.mktemp("networks")
    said: list[str] = []
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    small_models.make(folder, say=said.append, num_steps=24, num_lessons=400)
    torch.set_num_threads(before)
    assert len(said) == 3
    return folder
