"""How much memory there is for a model and its cameras, and how much this process holds."""

import os
from pathlib import Path

_STATM = Path("/proc/self/statm")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def device_memory_bytes(device: str) -> int:
    """Return all the memory of a GPU; for a CPU what this machine has, or its container may use.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, or `auto`, which is a GPU where there is one.
    """
    import torch  # takes seconds

    if device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()):
        return int(torch.cuda.mem_get_info(None if device == "auto" else device)[1])
    total_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total_bytes, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit, which says `max`
        return total_bytes


def resident_bytes() -> int | None:
    """Return the memory that this process holds; None where the system does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
