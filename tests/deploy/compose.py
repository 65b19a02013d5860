"""Compose files as compose reads them, without Docker: variables filled in, settings merged."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

ROOT = Path(__file__).resolve().parents[2]
MAIN = ROOT / "docker-compose.yml"
GPU = ROOT / "deploy" / "compose.gpu.yml"
DEMO = ROOT / "deploy" / "compose.demo.yml"
_VARIABLE = re.compile(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}")


class MissingVariableError(Exception):
    """Compose refuses the file, with these words."""


def read(text: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """What a compose file says with these variables in the shell or in .env.

    Raises:
        MissingVariableError: as compose does where `${X:?words}` is not set.
    """

    def value(match: re.Match[str]) -> str:
        name, operator, words = match.groups()
        given = variables.get(name, "")
        if not given and operator == ":?":
            raise MissingVariableError(f"{name}: {words}")
        return given or (words if operator == ":-" else "")

    read: dict[str, Any] = _filled(yaml.safe_load(text), value)
    return read


def _filled(node: Any, value: Any) -> Any:
    if isinstance(node, dict):
        return {key: _filled(part, value) for key, part in node.items()}
    if isinstance(node, list):
        return [_filled(part, value) for part in node]
    return _VARIABLE.sub(value, node) if isinstance(node, str) else node


def environment(service: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """What a container gets: of its settings files the last wins, and `environment` over all."""
    gathered: dict[str, str] = {}
    for name in service.get("env_file", []):
        found = dotenv_values(folder / name, interpolate=False)
        gathered |= {key: said or "" for key, said in found.items()}
    gathered.update(service.get("environment", {}))
    return gathered
