"""deploy/SETTINGS.md, from the settings' own descriptions."""

from worker.reference import grouped

_TITLE = """\
# Settings

All settings are environment variables that begin with `VIGIL_`. You choose the ids of your cameras
and questions, of letters, digits, `-` and single `_`; `GATE` and `FIRE` below are examples. In the
name of a variable an id is in capitals. In values, messages and Redis keys it is in small letters:
`VIGIL_CAMERAS__GATE__URL` is the address of camera `gate`. A picture of a camera is also called a
frame.

| written | as |
|---|---|
| durations | `250ms`, `30s`, `5m`, `1h`; `0` |
| sizes | `512MiB`, `20GiB`, `2GB` (1000 MB each 1000 kB); `20G` is `20GiB` |
| shares and probabilities | `0.7` or `70%` |
| several words | `red, green` or `"red", "green"`; a comma within quotes separates nothing |

Blanks around a value, and quotes around all of it, are taken off. Capitals are understood wherever
case carries nothing: `VIGIL_LOG_LEVEL=INFO`, `VIGIL_QUESTIONS__FIRE__CAMERAS=GATE`. A variable with
an empty value counts as one that is not set, but that a camera's `URL` and a question's `ASK` may
not be empty. [README.md](README.md#the-settings-file) says how a settings file is written.

A camera's `URL`, `VIGIL_REDIS__URL`, `VIGIL_KAFKA__SASL_PASSWORD` and `VIGIL_CONSOLE__TOKEN` may
come from a file of one line instead: append `_FILE` to the name, as in
`VIGIL_REDIS__URL_FILE=/run/secrets/redis_url`. The file wins where both are set. In a password that
is part of an address, write `/` as `%2F` and `%` as `%25`.

The worker does not start when a variable that begins with `VIGIL_` is not a setting, when a value
is not valid, or when a question names a camera that has no settings. It then prints a line for each
mistake, which names the variable, and ends with status 2. (`VIGIL_ENV` and `VIGIL_BUILD_NETWORK`
are for Docker Compose alone and are passed over.) `vigil check` prints the settings in effect and
says whether a worker would start with them. `vigil check --example` prints a settings file to copy
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
