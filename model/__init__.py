"""Vigil's model: a vision-language model over the rolling windows of many streams.

The names below are all that a program needs. Each is imported when it is first used, so that
`import model` alone loads no torch. The library knows no camera, broker, setting or clock.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.engine.config import EngineConfig
    from model.engine.engine import Engine
    from model.types import Answer, PatchGrid, PrunedFrame, Question

__all__ = ["Answer", "Engine", "EngineConfig", "PatchGrid", "PrunedFrame", "Question"]

_HOMES = {"Engine": "model.engine.engine", "EngineConfig": "model.engine.config"}


if not TYPE_CHECKING:  # so that a checker knows these names and refuses others

    def __getattr__(name: str) -> object:
        """Import a public name from its home, once."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found: object = getattr(import_module(_HOMES.get(name, "model.types")), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        """List the public names."""
        return __all__
