"""From environment variables to `Settings`. The only reader of the environment."""

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from pipeline.errors import ConfigError
from pipeline.redact import url_secrets
from worker.cleaning import clean, named, read_env_file, read_text
from worker.notation import choices, expected
from worker.settings import PREFIX, UNKNOWN_CAMERAS, Settings
from worker.site_settings import CameraSettings, Part, QuestionSettings

_HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # read by the hub's client
_BY_ID: dict[str, type[BaseModel]] = {"cameras": CameraSettings, "questions": QuestionSettings}

_NEEDED = {
    f"{PREFIX}CAMERAS__*__URL": "expected an address or a video file's path, got nothing; "
    "leave the variable out for a camera whose frames come through Kafka",
    f"{PREFIX}QUESTIONS__*__ASK": "expected the question in plain words, got nothing",
}
"""What must not be empty once it is named: the camera would not be watched, and nobody told."""

_OTHERS = re.compile(r"HF_[A-Z_]+")
"""Variables of the library that fetches models; it reads them itself."""

_COMPOSE_ONLY = frozenset({f"{PREFIX}ENV", f"{PREFIX}BUILD_NETWORK"})

_STAND_INS = {"url": "./stands-in", "ask": "?"}
"""What takes the place of a value that was refused, so that the others can be judged too."""

Mistakes = dict[str, str]
"""Variable -> what was expected of it, in the order in which they were found."""


class _MappingSource(EnvSettingsSource):
    """pydantic-settings' reading of names, over a mapping instead of the process's environment."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(Settings)
        self.env_vars = {name.lower(): value for name, value in variables.items()}


def use_file(path: str) -> list[str]:
    """Take an env file's variables into the process's environment, where they are not set yet.

    What is set already wins, as it does over an `env_file` of Docker Compose.

    Returns:
        The names of the variables whose value in the file is another than the one that wins.

    Raises:
        ConfigError: the file cannot be read or is none.
    """
    given = read_env_file(path)
    there = {name.upper(): value for name, value in os.environ.items()}
    for name, value in given.items():
        if name.upper() not in there:
            os.environ[name] = value
    return [
        name
        for name, value in given.items()
        if clean(there.get(name.upper(), value)) != clean(value)
    ]


def tidy_for_others() -> None:
    """Clean and set what other libraries read of the environment, before they do."""
    for name, value in os.environ.items():
        if _OTHERS.fullmatch(name) and clean(value) != value:
            os.environ[name] = clean(value)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray is to report to nobody


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ`, or from the process's environment.

    `VIGIL_X_FILE` gives the content of a file as the value of a secret `VIGIL_X`, and wins over it.
    Empty variables count as absent, so that compose files can pass them through.

    Raises:
        ConfigError: a line for each mistake: the variable, what was expected, and no value.
    """
    settings, mistakes = _read(os.environ if environ is None else environ)
    return _sound(settings, mistakes)


def load_for_worker(*, needs_cameras: bool = True) -> Settings:
    """Read the settings from the process's environment as `load` does, for a worker to run.

    Args:
        needs_cameras: what has nothing to watch is refused.

    Raises:
        ConfigError: a setting is wrong, there is nothing to watch, or no model is named.
    """
    settings, mistakes = _read(os.environ)
    if settings:
        has_cameras = settings.cameras or settings.kafka.bootstrap_servers
        if needs_cameras and not has_cameras:
            mistakes[f"{PREFIX}CAMERAS__<ID>__URL"] = (
                f"expected at least one camera, or {PREFIX}KAFKA__BOOTSTRAP_SERVERS"
            )
        if not settings.model.path:
            mistakes[f"{PREFIX}MODEL__PATH"] = (
                "expected a model: a folder, or a name on Hugging Face such as "
                "DAMO-NLP-SG/VideoLLaMA3-2B; nano is the bundled demo model, which knows only its "
                "rendered world"
            )
    return _sound(settings, mistakes)


def load_for_ingest() -> Settings:
    """Read the settings from the process's environment as `load` does, for `vigil ingest`.

    Raises:
        ConfigError: a setting is wrong, or there is no camera to read or no Kafka to write to.
    """
    settings, mistakes = _read(os.environ)
    if settings:
        cameras = {key: one for key, one in settings.cameras.items() if one.url is not None}
        if not cameras:
            mistakes[f"{PREFIX}CAMERAS__<ID>__URL"] = "expected at least one camera with an address"
        if not settings.kafka.bootstrap_servers:
            mistakes[f"{PREFIX}KAFKA__BOOTSTRAP_SERVERS"] = "expected the brokers to send to"
        for key, one in cameras.items():
            if not one.live:
                mistakes[f"{PREFIX}CAMERAS__{key.upper()}__LIVE"] = (
                    "expected true, since vigil ingest sends pictures when they are captured"
                )
    return _sound(settings, mistakes)


def load_for_console() -> Settings:
    """Read the settings from the process's environment as `load` does, for `vigil console`.

    Raises:
        ConfigError: a setting is wrong, or the page would be open to other machines.
    """
    settings, mistakes = _read(os.environ)
    if settings:
        for name, words in settings.console.mistakes():
            mistakes[f"{PREFIX}CONSOLE__{name}"] = words
    return _sound(settings, mistakes)


def read_question(question_id: str, given: Mapping[str, str]) -> QuestionSettings:
    """Read one question's settings, written as in variables, by their names in small letters.

    Whether there are the cameras that it names is not judged here.

    Raises:
        ConfigError: the names of what is wrong, and what was expected; no value.
    """
    start = f"{PREFIX}QUESTIONS__{question_id.upper()}__"
    asked = {"ask": "", **given}
    settings, mistakes = _read({f"{start}{name.upper()}": text for name, text in asked.items()})
    if mistakes.get(f"{start}CAMERAS", "").startswith(UNKNOWN_CAMERAS):
        del mistakes[f"{start}CAMERAS"]
    if mistakes or settings is None:
        told = (f"{name.removeprefix(start).lower()}: {one}" for name, one in mistakes.items())
        raise ConfigError("; ".join(told))
    return settings.questions[question_id]


def without_settings() -> dict[str, str]:
    """Return the process's environment but for our variables, to hand on to a child."""
    return {k: v for k, v in os.environ.items() if not k.upper().startswith(PREFIX)}


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Return every literal that must never be printed."""
    urls = [camera.url.get_secret_value() for camera in settings.cameras.values() if camera.url]
    urls.append(settings.redis.url.get_secret_value())
    hidden = settings.kafka.sasl_password, settings.console.token
    others = [one.get_secret_value() for one in hidden]
    others += [os.environ.get(name, "") for name in _HUB_TOKENS]
    return (*(secret for url in urls for secret in url_secrets(url)), *filter(None, others))


def variables(settings: BaseModel, prefix: str = PREFIX) -> Iterator[tuple[str, object, FieldInfo]]:
    """Yield (variable, effective value, field) of every setting; secrets stay SecretStr."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        variable = f"{prefix}{name.upper()}"
        if isinstance(value, BaseModel):
            yield from variables(value, f"{variable}__")
        elif isinstance(value, dict):
            for key, part in value.items():
                yield from variables(part, f"{variable}__{key.upper()}__")
        else:
            yield variable, value, field


def templates(
    part: type[BaseModel] = Settings, prefix: str = PREFIX
) -> Iterator[tuple[str, FieldInfo]]:
    """Yield (variable, field) of every setting there can be; `*` stands for an id."""
    for name, field in part.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        if part is Settings and name in _BY_ID:
            yield from templates(_BY_ID[name], f"{variable}__*__")
        elif isinstance(field.default, Part):
            yield from templates(type(field.default), f"{variable}__")
        else:
            yield variable, field


def _sound(settings: Settings | None, mistakes: Mistakes) -> Settings:
    if mistakes or settings is None:
        raise ConfigError("\n".join(f"{name}: {words}" for name, words in mistakes.items()))
    return settings


def _read(environ: Mapping[str, str]) -> tuple[Settings | None, Mistakes]:
    """Read the settings, with stand-ins where they are mistaken; None where those do not help."""
    mistakes: Mistakes = {}
    variables = _with_secrets(_once(environ, mistakes), mistakes)
    known: dict[str, str] = {}
    for name, value in variables.items():
        field = _field(name)
        if field is not None:
            known[name] = _spelled(value, field)
        else:
            mistakes[name] = _unknown(name)
    given = _MappingSource(known)()
    settings = None
    try:
        settings = Settings(**given)
    except ValidationError as error:
        for one in error.errors(include_input=False):
            name, words = _in_our_words(one)
            mistakes.setdefault(name, words)
            if one["loc"]:
                _mend(given, one["loc"])
        try:
            settings = Settings(**given)
        except ValidationError:
            return None, mistakes
    for name, words in settings.mistakes():
        mistakes.setdefault(f"{PREFIX}{name}", words)
    return settings, mistakes


def _once(environ: Mapping[str, str], mistakes: Mistakes) -> dict[str, str]:
    variables: dict[str, str] = {}
    for name, value in named(environ, prefix=PREFIX):
        if variables.get(name, value) != value:
            mistakes[name] = "expected it once; it is there in capitals and in small letters"
        variables[name] = value
    return {name: value for name, value in variables.items() if name not in _COMPOSE_ONLY}


def _with_secrets(variables: Mapping[str, str], mistakes: Mistakes) -> dict[str, str]:
    """Put the contents of the files that are named in place; leave out what is empty."""
    result = dict(variables)
    for name, path in variables.items():
        base = name.removesuffix("_FILE")
        field = _field(base)
        if base == name or field is None or not _is_secret(field):
            continue
        del result[name]
        if not path and base in variables:
            continue
        try:
            result[base] = _secret(path) if path else ""
        except ConfigError as error:
            mistakes[name] = str(error)
            result[base] = _STAND_INS["url"] if _needed(base) else ""
        if not path and (needed := _needed(base)):
            mistakes[name] = needed
            del result[base]
    for name, value in list(result.items()):
        if value == "":
            del result[name]
            if needed := _needed(name):
                mistakes[name] = needed
    return result


def _secret(path: str) -> str:
    secret = clean(read_text(path))
    if not secret:
        raise ConfigError("expected a file with something in it, it is empty")
    if len(secret.splitlines()) > 1:
        raise ConfigError("expected a file with one line")
    return secret


def _needed(name: str) -> str | None:
    return next((words for one, words in _NEEDED.items() if _pattern(one).fullmatch(name)), None)


def _is_secret(field: FieldInfo) -> bool:
    return "SecretStr" in str(field.annotation)


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.escape(template).replace(r"\*", r"[A-Za-z0-9](?:_?[A-Za-z0-9-])*_?"), re.I)


def _field(name: str) -> FieldInfo | None:
    return next((field for one, field in templates() if _pattern(one).fullmatch(name)), None)


def _spelled(value: str, field: FieldInfo) -> str:
    """Return the choice that a value names, whatever its case; other values as they are."""
    return next((one for one in choices(field) if one.lower() == value.lower()), value)


def _unknown(name: str) -> str:
    match = re.match(rf"{PREFIX}(CAMERAS|QUESTIONS)__([A-Z0-9-]+(?:_[A-Z0-9-]+)*)__", name)
    candidates = [t.replace("*", match[2]) if match else t for t, _ in templates()]
    # Without what all of them begin with, or any name would be near to any other.
    names = {one.removeprefix(match[0] if match else PREFIX): one for one in candidates}
    own = name.removeprefix(match[0] if match else PREFIX)
    close = get_close_matches(own, names, n=1, cutoff=0.75)
    return "no such setting" + (f"; did you mean {names[close[0]]}?" if close else "")


def _in_our_words(error: ErrorDetails) -> tuple[str, str]:
    """Return (variable, what was expected); never the value."""
    name = PREFIX + "__".join(str(part).upper() for part in error["loc"] if part != "[key]")
    words = error["msg"].removeprefix("Value error, ")
    field = _field(name)
    if error["type"] == "missing":
        words = "expected a value, since other variables of this one are set"
        words = _NEEDED[f"{PREFIX}QUESTIONS__*__ASK"] if _needed(name) else words
    elif error["type"] != "value_error":
        words = expected(field) if field else "expected another value"
    return name, words


def _mend(given: dict[str, Any], loc: tuple[int | str, ...]) -> None:
    """Put a stand-in in place of what was refused, or take it out."""
    *path, last = [str(part) for part in loc if part != "[key]"]
    for part in path:
        if not isinstance(given := given.get(part, {}), dict):
            return
    if last in _STAND_INS:
        given[last] = _STAND_INS[last]
    else:
        given.pop(last, None)
