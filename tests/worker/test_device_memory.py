import os
from pathlib import Path

import pytest

from worker import device_memory, environment
from worker.device_memory import device_memory_bytes
from worker.loading import budget_bytes, engine_config

MACHINE_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("limit", "num_bytes"), [("2000000\n", 2_000_000), ("max\n", MACHINE_BYTES)]
)
def test_a_container_has_what_it_may_use(
    limit: str, num_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(device_memory, "_CGROUP_LIMIT", tmp_path / "memory.max")
    assert device_memory_bytes("cpu") == num_bytes


def test_a_budget_may_be_a_share_of_the_devices_memory() -> None:
    def budget(written: str) -> int | None:
        given = {"VIGIL_MODEL__MEMORY_BUDGET": written, "VIGIL_MODEL__DEVICE": "cpu"}
        settings = environment.load(given)
        assert engine_config(settings).memory_budget_bytes == budget_bytes(settings)
        return budget_bytes(settings)

    assert budget("50%") == device_memory_bytes("cpu") // 2
    assert budget("1GiB") == 1024**3
    assert budget("0") is None
