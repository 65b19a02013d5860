"""JSON Schema as ajv reads it in its strict mode: another make than the tests' own, run by Node.

The package is fetched once by npm, to ~/.cache/vigil-tests.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

VERSION = "8.17.1"
FOLDER = Path.home() / ".cache" / "vigil-tests" / f"ajv-{VERSION}"
FETCH_LIMIT_S = 60.0
RUN_LIMIT_S = 30.0

PROGRAM = """
const Ajv = require("ajv/dist/2020").default;
const {schemas, samples} = JSON.parse(require("fs").readFileSync(0, "utf8"));
const ajv = new Ajv({strict: true, allErrors: true});
for (const schema of schemas) ajv.addSchema(schema);
const found = samples.map(({uri, value}) => {
  const check = ajv.getSchema(uri);
  if (!check) return `no schema ${uri}`;
  return check(value) ? "" : ajv.errorsText(check.errors);
});
console.log(JSON.stringify(found));
"""

Ajv = Callable[[Sequence[Mapping[str, Any]], Sequence[tuple[str, Any]]], list[str]]
"""(schemas, [(URI of a schema or of a part of one, value)]) -> what is wrong with each value."""


@pytest.fixture(scope="session")
def ajv() -> Ajv:
    """Compiles schemas in strict mode and validates by them; a schema it refuses is an error."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node and npm on the PATH to run ajv with")
    if not FOLDER.exists():
        _fetch()

    def run(schemas: Sequence[Mapping[str, Any]], samples: Sequence[tuple[str, Any]]) -> list[str]:
        asked = [{"uri": uri, "value": value} for uri, value in samples]
        done = subprocess.run(
            ["node", "-e", PROGRAM],
            input=json.dumps({"schemas": schemas, "samples": asked}),
            cwd=FOLDER,
            capture_output=True,
            text=True,
            timeout=RUN_LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found: list[str] = json.loads(done.stdout)
        return found

    return run


def _fetch() -> None:
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    # Fetched beside and renamed: a fetch that was cut short, or two at once, leave nothing broken.
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as folder:
        new = Path(folder) / "ajv"
        new.mkdir()
        (new / "package.json").write_text('{"private": true}')
        try:
            fetched = subprocess.run(
                ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", f"ajv@{VERSION}"],
                cwd=new,
                capture_output=True,
                text=True,
                timeout=FETCH_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm does not fetch ajv {VERSION} within {FETCH_LIMIT_S:.0f} s")
        if fetched.returncode:
            pytest.skip(f"npm cannot fetch ajv {VERSION}: {fetched.stderr[-500:]}")
        if not FOLDER.exists():
            new.rename(FOLDER)
