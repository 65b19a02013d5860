"""How true a model's answers are, shown to the engine alone and through the whole worker."""

from typing import Literal

from model import Engine, EngineConfig
from model.engine.last_frames import LastFrames
from pipeline.errors import ConfigError
from worker import environment, log
from worker.benchmarks.report import Progress, Row
from worker.evaluation import clips, end_to_end, in_fp8, long_contexts
from worker.evaluation.speaking import Speaking
from worker.loading import engine_config, load_engine

Through = Literal["model", "worker", "all"]
MAX_CAPTION_TOKENS = 256  # a minute of five movers takes up to 190: none is cut short
WINDOW_S = 120  # longer than twice a clip: its first frame is never forgotten, no standby context


def measure(
    folder: str,
    *,
    num_clips: int,
    first_seed: int,
    through: Through,
    minutes: float,
    progress: Progress,
    num_long: int = 0,
    num_fp8: int = 0,
) -> list[Row]:
    """Measure a model.

    Args:
        folder: a model's; `nano` is the bundled one.
        num_clips: held-out clips shown to the engine.
        first_seed: of the first scene; below `FIRST_HELD_OUT_SEED` they may have been trained on.
        through: the engine alone, the whole worker, or both.
        minutes: of scenes played to the worker.
        progress: told of what is done.
        num_long: clips of a minute shown to the engine besides.
        num_fp8: clips shown to it exact and in FP8 besides.

    Raises:
        ConfigError: a number is not positive, or there is no redis-server.
        CheckpointError: the folder is not a whole checkpoint.
    """
    for option, number, least in (
        ("clips", num_clips, 1),
        ("long", num_long, 0),
        ("fp8", num_fp8, 0),
    ):
        if number < least:
            raise ConfigError(f"eval: --{option}: expected at least {least}, got {number}")
    if not 0 < minutes <= 24 * 60:
        raise ConfigError(f"eval: --minutes: expected more than 0, a day at most, got {minutes}")
    if first_seed < 0:
        raise ConfigError(f"eval: --first-seed: expected 0 or more, got {first_seed}")
    log.configure(level="error", style="console")
    rows: list[Row] = []
    if through != "worker":
        settings = environment.load(
            {
                "VIGIL_MODEL__PATH": folder,
                "VIGIL_MODEL__MAX_CAPTION_TOKENS": f"{MAX_CAPTION_TOKENS}",
                "VIGIL_WINDOW": f"{WINDOW_S}s",
            }
        )
        engine = load_engine(settings)
        config = LastFrames.config_for(engine_config(settings))
        last = Engine(engine.family, model_name=engine.model_name, config=config)
        rows += clips.measure(
            folder,
            engine,
            last_frames=LastFrames(last),
            first_seed=first_seed,
            num_clips=num_clips,
            progress=progress,
        )
        rows += (
            long_contexts.measure(
                engine, first_seed=first_seed, num_clips=num_long, progress=progress
            )
            if num_long
            else []
        )
        if num_fp8:
            rows += in_fp8.measure(
                engine,
                engine_config(settings),
                first_seed=first_seed,
                num_clips=num_fp8,
                progress=progress,
            )
        if engine.family.speaks:
            progress("when it speaks")
            config = EngineConfig(
                window_s=WINDOW_S, max_caption_tokens=MAX_CAPTION_TOKENS, says_when=True
            )
            speaker = Engine(engine.family, model_name=engine.model_name, config=config)
            speaking = Speaking()
            for clip in clips.clips(first_seed, num_clips):
                speaking.add(speaker, clip.scene, clip.frames)
            rows += speaking.rows()
    if through != "model":
        rows += end_to_end.measure(
            folder, first_seed=first_seed, minutes=minutes, progress=progress
        )
    return rows
