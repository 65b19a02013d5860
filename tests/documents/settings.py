"""deploy/SETTINGS.md, from the settings' own descriptions."""

from worker.reference import grouped

_TITLE = """\
# Settings

All settings are environment variables that begin with `VIGIL_`. You choose the ids of your cameras
and questions, of letters, digits, `-` and single `_`; `GATE` and `FIRE` below are examples. In the
name of a variable an id is in capitals. In values, messages and Redis keys it is in small letters:
`VIGIL_CAMERAS__GATE__URL` is the address of camera `gate`. Durations are written as `250ms`, `30s`,
`5m` or `1h`. A picture of a camera is also called a frame.

A camera's `URL`, `VIGIL_REDIS__URL` and `VIGIL_KAFKA__SASL_PASSWORD` may come from a file instead:
append `_FILE` to the name, as in `VIGIL_REDIS__URL_FILE=/run/secrets/redis_url`. In a password that
is part of an address, write `/` as `%2F` and `%` as `%25`.

The worker does not start when a variable that begins with `VIGIL_` is not a setting, when a value
is not valid, or when a question names a camera that has no settings. It then prints one line that
names the variable. (`VIGIL_ENV` is for Docker Compose alone: do not set it for the worker.)
`vigil check` prints the settings in effect. `vigil check --example` prints a settings file to copy
and edit, the same as [worker.env.example](worker.env.example).
"""


def settings_document() -> str:
    """Return deploy/SETTINGS.md."""
    lines = [_TITLE]
    for group, members in grouped():
        lines += [
            f"\n## {group or 'The worker'}\n\n",
            "| variable | default | meaning |\n|---|---|---|\n",
        ]
        for name, default, description in members:
            shown = f" `{default}`" if default else ""
            lines.append(f"| `{name}` |{shown} | {description} |\n")
    return "".join(lines)
