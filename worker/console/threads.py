"""The two threads in which the history is used: one writes, one reads beside it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """One thread to write and one to read, so that no connection is in two hands."""

    def __init__(self) -> None:
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="recall")

    async def write(self, work: Callable[[], T]) -> T:
        """Run what writes; wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    async def read(self, work: Callable[[], T]) -> T:
        """Run what reads; wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, work)

    def close(self) -> None:
        """Wait for what runs, and take nothing new."""
        self._writer.shutdown()
        self._reader.shutdown()
