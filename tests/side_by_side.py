"""Which tests may run at the same time, where `pytest -n` runs them in several processes.

A file's tests stay together, in order. The files in `ALONE` run when all others are over. Each
process has its own Redis, and its own Kafka broker where one of its tests needs that.
"""

import os
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

ALONE = (
    "tests/benchmarks/test_lag.py",
    "tests/chaos/test_chaos.py",
    "tests/pipeline/sources/test_damage.py",
    "tests/workers/test_workers.py",
)
"""What measures the machine as a whole: how late messages are, what is true of them in time."""
COMPUTING = "tests/model/"  # where little is waited for


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # torch: more threads would only wait for each other
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    else:
        config.option.maxworkerrestart = "0"  # or a test that ends its process is run for ever


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    turns = _turns([_file_of(item.nodeid) for item in items])
    items.sort(key=lambda item: turns[_file_of(item.nodeid)])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "AloneLast":
    return AloneLast(config, log)


def _file_of(test: str) -> str:
    return test.partition("::")[0]


def _turns(files: Sequence[str]) -> dict[str, int]:
    """Take turns between those that wait and those that compute: side by side they go well."""
    others = [one for one in dict.fromkeys(files) if one not in ALONE]
    computing = [one for one in others if one.startswith(COMPUTING)]
    waiting = [one for one in others if not one.startswith(COMPUTING)]
    merged = (one for one in chain(*zip_longest(waiting, computing)) if one is not None)
    return {one: turn for turn, one in enumerate([*merged, *ALONE])}


class AloneLast(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives out files in their order; those of `ALONE` once a single process is left."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def remove_node(self, node: Any) -> str | None:
        crashed: str | None = super().remove_node(node)
        for left in self.nodes:
            self._reschedule(left)
        return crashed

    def _reschedule(self, node: Any) -> None:
        if not self._must_wait(node):
            super()._reschedule(node)
        elif any(not other.shutting_down for other in self._others(node)):
            node.shutdown()

    def _assign_work_unit(self, node: Any) -> None:
        if not self._must_wait(node):
            super()._assign_work_unit(node)

    def _must_wait(self, node: Any) -> bool:
        is_alone = next(iter(self.workqueue), None) in ALONE
        return is_alone and bool(self._others(node))

    def _others(self, node: Any) -> Sequence[Any]:
        return [other for other in self.nodes if other is not node]
