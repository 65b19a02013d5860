"""What is tried when a worker's model is loaded, and refused by the names of settings."""

from collections.abc import Iterator
from contextlib import contextmanager

from model import Engine, Question
from model.errors import CheckpointError, InputError
from model.kinds import CAPTION
from pipeline.errors import ConfigError
from worker.settings import PREFIX, Settings
from worker.site_settings import QuestionSettings

_SETTING_OF = {"model path": "MODEL__PATH", "model revision": "MODEL__REVISION"}


@contextmanager
def named_settings() -> Iterator[None]:
    """Name the variable where the model's path or revision is refused."""
    try:
        yield
    except CheckpointError as error:
        name, _, expected = str(error).partition(": ")
        if name not in _SETTING_OF:
            raise
        raise ConfigError(f"{PREFIX}{_SETTING_OF[name]}: {expected}") from None


def try_questions(engine: Engine, settings: Settings) -> None:
    """Put every standing question and the caption's request to the model's own checks.

    Raises:
        ConfigError: one cannot be put; it names the variable and not its value.
    """
    caption = f"{PREFIX}CAPTION_PROMPT"
    _try(engine, Question(CAPTION, settings.caption_prompt), ask=caption, options=caption)
    for question_id, one in settings.questions.items():
        variable = f"{PREFIX}QUESTIONS__{question_id.upper()}__"
        for question in _parts(one):
            is_option = question.text != one.ask
            _try(
                engine,
                question,
                ask=f"{variable}{'OPTIONS' if is_option else 'ASK'}",
                options=f"{variable}OPTIONS",
            )


def _parts(one: QuestionSettings) -> Iterator[Question]:
    """Yield each of a question's texts by itself, so that a refusal has one culprit; then all."""
    yield Question("text", one.ask)
    for option in one.options:
        yield Question("text", option)
    yield Question(one.kind, one.ask, one.options)


def _try(engine: Engine, question: Question, *, ask: str, options: str) -> None:
    try:
        engine.check(question)
    except InputError as error:
        name, _, expected = str(error).partition(": ")
        raise ConfigError(f"{options if name == 'options' else ask}: {expected}") from None
