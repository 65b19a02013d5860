"""Write the newest versions that pyproject.toml allows to deploy/constraints.txt.

    .venv/bin/python deploy/constraints.py && ./tests/check

Nothing is installed and little is downloaded. Run it by the oldest Python that is supported: what
is had for it is had for the others. Commit the file once the check has passed with it.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "deploy" / "constraints.txt"
HEAD = """\
# The versions that were tested: the image and .venv are made of these, whatever is newer by then.
# Refreshed by: .venv/bin/python deploy/constraints.py
"""


def resolved() -> list[str]:
    """Return `name==version` of all that would be installed, for a worker and for developers."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--dry-run", "--ignore-installed", "--report", "-"]
    command += ["--editable", ".[demo,bench,console,curation]", "--group", "dev"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found = (one["metadata"] for one in json.loads(done.stdout)["install"])
    return sorted(
        f"{re.sub(r'[-_.]+', '-', one['name']).lower()}=={one['version']}"
        for one in found
        if one["name"] != "vigil"
    )


def main() -> None:
    """Write the file, and say what changed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = re.match(r">=(\d+\.\d+)", project["requires-python"])
    if oldest is None or sys.version_info[:2] != tuple(map(int, oldest[1].split("."))):
        sys.exit(f"expected Python {oldest and oldest[1]}, got {sys.version.split()[0]}")
    before = set(FILE.read_text(encoding="utf-8").splitlines()) if FILE.exists() else set()
    now = resolved()
    FILE.write_text(HEAD + "\n".join(now) + "\n", encoding="utf-8")
    for line in sorted(set(now) - before):
        print(f"now {line}")


if __name__ == "__main__":
    main()
