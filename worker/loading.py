"""The model by the settings: its limits, and what of it is refused by the names of settings."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from model import Engine, EngineConfig, Question
from model.engine import sketch as engine_sketch
from model.errors import CheckpointError, InputError
from model.kinds import CAPTION
from model.progress import Tell, untold
from pipeline.errors import ConfigError
from worker.device_memory import device_memory_bytes
from worker.settings import PREFIX, Settings
from worker.site_settings import QuestionSettings
from worker.values import DeviceShare

TORCH_THREADS = torch.get_num_threads()  # what it chose by itself

_SETTING_OF = {
    "model path": "MODEL__PATH",
    "model revision": "MODEL__REVISION",
    "max_context_tokens": "MODEL__MAX_CONTEXT_TOKENS",
    "says_when": "CAPTION_WHEN",
    "fp8_products": "MODEL__FP8_PRODUCTS",
    "fp8_keys": "MODEL__FP8_KEYS",
}


@contextmanager
def named_settings() -> Iterator[None]:
    """Name the variable where the model's path, revision or limits are refused."""
    try:
        yield
    except (CheckpointError, InputError) as error:
        name, _, expected = str(error).partition(": ")
        if name not in _SETTING_OF:
            raise
        raise ConfigError(f"{PREFIX}{_SETTING_OF[name]}: {expected}") from None


def engine_config(settings: Settings) -> EngineConfig:
    """Return the engine's limits and ways."""
    chosen = settings.model
    return EngineConfig(
        window_s=settings.window,
        sample_period_s=1.0 / settings.sample_fps,
        max_context_tokens=chosen.max_context_tokens,
        max_caption_tokens=chosen.max_caption_tokens,
        max_answer_tokens=chosen.max_answer_tokens,
        vision=chosen.vision,
        audit_share=chosen.audit_share,
        max_drift=chosen.max_drift,
        memory_budget_bytes=budget_bytes(settings),
        says_when=settings.caption_when == "model",
        fp8_products=chosen.fp8_products,
        fp8_keys=chosen.fp8_keys,
    )


def budget_bytes(settings: Settings) -> int | None:
    """Return how much of the device's memory may be used; None where no limit is set."""
    budget = settings.model.memory_budget
    if isinstance(budget, DeviceShare):
        return int(budget.ratio * device_memory_bytes(settings.model.device))
    return budget or None


def sketch_engine(settings: Settings) -> tuple[Engine, int]:
    """Judge the model's files without its weights, as `load_engine` would.

    Returns:
        An engine that judges questions and counts memory, and how many bytes of weights are not on
        this machine yet.

    Raises:
        ConfigError: the model cannot be had, or not on this device.
        CheckpointError: its folder is not usable.
    """
    refuse_device(settings)
    with named_settings(), _unheard():
        return engine_sketch.sketch_engine(
            settings.model.path,
            device=settings.model.device,
            dtype=settings.model.dtype,
            config=engine_config(settings),
            revision=settings.model.revision or None,
        )


@contextmanager
def _unheard() -> Iterator[None]:
    """Leave out what the model logs of itself: it will say so again when it is loaded."""
    logger = logging.getLogger("model")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def refuse_device(settings: Settings) -> None:
    """Refuse a GPU that this machine does not have, and what takes one where the model has none.

    Raises:
        ConfigError: there is none, none of that number, or FP8 is asked for on a CPU.
    """
    chosen = settings.model
    for name, is_asked in (("PRODUCTS", chosen.fp8_products), ("KEYS", chosen.fp8_keys)):
        if is_asked and (chosen.device == "cpu" or not torch.cuda.is_available()):
            raise ConfigError(
                f"VIGIL_MODEL__FP8_{name}: expected a GPU for the model, on a CPU it saves nothing"
            )
    device, _, number = settings.model.device.partition(":")
    if device != "cuda":
        return
    num_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if num_devices == 0:
        raise ConfigError("VIGIL_MODEL__DEVICE: expected a CUDA device on this machine, found none")
    if int(number or 0) >= num_devices:
        raise ConfigError(
            f"VIGIL_MODEL__DEVICE: expected the number of a CUDA device from 0 to {num_devices - 1}"
        )


def try_questions(engine: Engine, settings: Settings) -> None:
    """Put every standing question and the caption's request to the model's own checks.

    Raises:
        ConfigError: a line for each that cannot be put; it names the variable and not its value.
    """
    refused = list(dict.fromkeys(_refusals(engine, settings)))
    if refused:
        raise ConfigError("\n".join(refused))


def _refusals(engine: Engine, settings: Settings) -> Iterator[str]:
    caption = f"{PREFIX}CAPTION_PROMPT"
    asked = Question(CAPTION, settings.caption_prompt)
    yield from _refused(engine, asked, ask=caption, options=caption)
    for question_id, one in settings.questions.items():
        variable = f"{PREFIX}QUESTIONS__{question_id.upper()}__"
        for question in _parts(one):
            is_option = question.text != one.ask
            refused = list(
                _refused(
                    engine,
                    question,
                    ask=f"{variable}{'OPTIONS' if is_option else 'ASK'}",
                    options=f"{variable}OPTIONS",
                )
            )
            yield from refused
            if refused:
                break


def _parts(one: QuestionSettings) -> Iterator[Question]:
    """Yield each of a question's texts by itself, so that a refusal has one culprit; then all."""
    yield Question("text", one.ask)
    for option in one.options:
        yield Question("text", option)
    yield Question(one.kind, one.ask, one.options)


def _refused(engine: Engine, question: Question, *, ask: str, options: str) -> Iterator[str]:
    try:
        engine.check(question)
    except InputError as error:
        name, _, expected = str(error).partition(": ")
        yield f"{options if name == 'options' else ask}: {expected}"


def num_inference_threads(asked: int, *, is_on_cpu: bool) -> int:
    """Return how many threads compute where other threads decode: one core is left to those.

    Beside a GPU it is one: at 160 cameras 15 of them made the oldest hundredth of answers 0.25 s
    older, and the worker 5 % busier.

    Args:
        asked: by the settings; 0 for none in particular.
        is_on_cpu: the model is.
    """
    return asked or (max(1, TORCH_THREADS - 1) if is_on_cpu else 1)


def take_own_stream(device: str) -> None:
    """Let this thread launch on a stream of its own, after all that was launched on its GPU.

    What NVDEC decodes is brought here on the default stream, and would wait there for whole passes.

    Args:
        device: a GPU by the settings; `auto` is the first.
    """
    gpu = torch.device("cuda" if device == "auto" else device)
    torch.cuda.synchronize(gpu)
    torch.cuda.empty_cache()  # what the default stream had is of no use to another
    torch.cuda.set_stream(torch.cuda.Stream(gpu))  # type: ignore[no-untyped-call]


def load_engine(settings: Settings, *, tell: Tell = untold) -> Engine:
    """Load the model onto its device, to be used on this thread."""
    torch.set_num_threads(settings.model.threads or TORCH_THREADS)
    return loaded(settings, tell=tell)


def loaded(settings: Settings, *, tell: Tell) -> Engine:
    """Load the model onto its device."""
    chosen = settings.model
    refuse_device(settings)
    with named_settings():
        return Engine.load(
            chosen.path,
            device=chosen.device,
            dtype=chosen.dtype,
            config=engine_config(settings),
            revision=chosen.revision or None,
            tell=tell,
        )
