"""An engine without weights: what a checkpoint would be asked, and take up, before it is loaded."""

from model.engine.config import EngineConfig
from model.engine.engine import Engine
from model.engine.loading import name_of, sketch_family


def sketch_engine(
    path: str, *, device: str, dtype: str, config: EngineConfig, revision: str | None = None
) -> tuple[Engine, int]:
    """Judge a checkpoint as `Engine.load` does, as far as that goes without its weights.

    Returns:
        An engine that judges questions and counts memory, and can do nothing else; and how many
        bytes of weights are not on this machine yet.

    Raises:
        CheckpointError, InputError: as `Engine.load`, whose arguments these are.
    """
    family, missing_bytes = sketch_family(path, device=device, dtype=dtype, revision=revision)
    return Engine(family, model_name=name_of(path), config=config), missing_bytes
