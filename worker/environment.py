"""From environment variables to `Settings`. The only reader of the environment."""

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from pipeline.errors import ConfigError
from pipeline.redact import url_secrets
from worker.settings import PREFIX, Settings
from worker.site_settings import CameraSettings, Part, QuestionSettings

_HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # read by the hub's client
_BY_ID: dict[str, type[BaseModel]] = {"cameras": CameraSettings, "questions": QuestionSettings}


class _MappingSource(EnvSettingsSource):
    """pydantic-settings' reading of names, over a mapping instead of the process's environment."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(Settings)
        self.env_vars = {name.lower(): value for name, value in variables.items()}


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ`, or from the process's environment.

    `VIGIL_X_FILE` gives the content of a file as the value of a secret `VIGIL_X`, and wins over
    it. Empty variables count as absent, so that compose files can pass them through.

    Raises:
        ConfigError: one line that names the variable, what was expected, and no value.
    """
    environ = os.environ if environ is None else environ
    variables = {
        name: _unquoted(value)
        for name, value in environ.items()
        if name.upper().startswith(PREFIX) and value != ""
    }
    variables = _with_secret_files(variables)
    for name in variables:
        _check_name(name)
    try:
        return Settings(**_MappingSource(variables)())
    except ValidationError as error:
        raise ConfigError(_in_one_line(error.errors(include_input=False))) from None


def load_for_worker(*, needs_cameras: bool = True) -> Settings:
    """Read the settings from the process's environment as `load` does, for a worker to run.

    Args:
        needs_cameras: what has nothing to watch is refused.

    Raises:
        ConfigError: a setting is wrong, there is nothing to watch, or no model is named.
    """
    settings = load()
    if needs_cameras and not settings.cameras and not settings.kafka.bootstrap_servers:
        raise ConfigError(
            f"{PREFIX}CAMERAS__<ID>__URL: expected at least one camera, "
            f"or {PREFIX}KAFKA__BOOTSTRAP_SERVERS"
        )
    if not settings.model.path:
        raise ConfigError(
            f"{PREFIX}MODEL__PATH: expected a model: a folder, or a name on Hugging Face such as "
            "DAMO-NLP-SG/VideoLLaMA3-2B; nano is the bundled demo model, which knows only its "
            "rendered world"
        )
    return settings


def without_settings() -> dict[str, str]:
    """Return the process's environment but for our variables, to hand on to a child."""
    return {k: v for k, v in os.environ.items() if not k.upper().startswith(PREFIX)}


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Return every literal that must never be printed."""
    urls = [camera.url.get_secret_value() for camera in settings.cameras.values() if camera.url]
    urls.append(settings.redis.url.get_secret_value())
    literals = [settings.kafka.sasl_password.get_secret_value()]
    literals += [os.environ.get(name, "") for name in _HUB_TOKENS]
    found = [secret for url in urls for secret in url_secrets(url)]
    return tuple(found + [literal for literal in literals if literal])


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


def _unquoted(value: str) -> str:
    """Take away quotes around the whole value: env files keep them, shells do not."""
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def _is_secret(field: FieldInfo) -> bool:
    return "SecretStr" in str(field.annotation)


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.escape(template).replace(r"\*", r"[A-Za-z0-9](?:_?[A-Za-z0-9-])*_?"), re.I)


def _with_secret_files(variables: Mapping[str, str]) -> dict[str, str]:
    secrets = [_pattern(name) for name, field in templates() if _is_secret(field)]
    result = dict(variables)
    for name, path in variables.items():
        base = name[: -len("_FILE")]
        if not name.upper().endswith("_FILE") or not any(s.fullmatch(base) for s in secrets):
            continue
        try:
            result[base] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigError(f"{name}: expected a readable file: {reason}") from None
        del result[name]
    return result


def _check_name(name: str) -> None:
    known = [template for template, _ in templates()]
    if any(_pattern(template).fullmatch(name) for template in known):
        return
    upper = name.upper()
    match = re.match(rf"{PREFIX}(CAMERAS|QUESTIONS)__([A-Z0-9-]+(?:_[A-Z0-9-]+)*)__", upper)
    candidates = [t.replace("*", match[2]) if match else t for t in known]
    close = get_close_matches(upper, candidates, n=1, cutoff=0.6)
    raise ConfigError(f"{name}: no such setting" + (f"; did you mean {close[0]}?" if close else ""))


def _in_one_line(errors: list[ErrorDetails]) -> str:
    """Return the first mistake as `VIGIL_NAME: what was expected`."""
    first = errors[0]
    place = "__".join(str(part).upper() for part in first["loc"] if part != "[key]")
    message = first["msg"].removeprefix("Value error, ")
    ours = re.match(r"([A-Z][A-Z0-9_-]+): (.*)", message, re.S)
    if ours:
        place, message = "__".join(filter(None, [place, ours[1]])), ours[2]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{PREFIX}{place}: {message[0].lower()}{message[1:]}{more}"
