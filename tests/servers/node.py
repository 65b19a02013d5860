"""Readers of another make: ajv, which takes JSON Schema strictly, and the `redis` client of Node.

The packages are fetched once by npm, to ~/.cache/vigil-tests.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ("ajv@8.17.1", "redis@5.12.1")
FOLDER = Path.home() / ".cache" / "vigil-tests" / "-".join(("node", *PACKAGES))
FETCH_LIMIT_S = 60.0
RUN_LIMIT_S = 30.0

VALIDATE = """
const Ajv = require("ajv/dist/2020").default;
const asked = JSON.parse(require("fs").readFileSync(0, "utf8"));
const ajv = new Ajv({strict: true, allErrors: true});
for (const schema of asked.schemas) ajv.addSchema(schema);
const wrong = (uri, value) => {
  const check = ajv.getSchema(uri);
  if (!check) return `no schema ${uri}`;
  return check(value) ? "" : ajv.errorsText(check.errors);
};
"""
VALIDATOR = """
console.log(JSON.stringify(asked.samples.map(({uri, value}) => wrong(uri, value))));
"""
# Says `subscribed`, waits for as many messages as it was told, then reads all that was kept.
READER = """
const {createClient} = require("redis");
setTimeout(() => process.exit(3), asked.limit_s * 1000).unref();
const client = () => createClient({url: asked.url, RESP: 3, unstableResp3: true}).connect();
const judged = (text) => {
  const message = JSON.parse(text);
  return {message, wrong: wrong(`urn:vigil:${message.type.split(".")[1]}:v1`, message)};
};
(async () => {
  const [subscriber, reader] = await Promise.all([client(), client()]);
  const heard = [];
  await new Promise((done) => {
    const hear = (text, channel) => {
      heard.push({where: channel, ...judged(text)});
      if (heard.length === asked.count) done();
    };
    subscriber.pSubscribe(asked.pattern, hear).then(() => console.log("subscribed"));
  });
  const kept = [];
  for (const key of asked.streams) {
    const {[key]: entries} = await reader.xRead({key, id: "0"});
    for (const [, flat] of entries) {
      const fields = {};
      for (let i = 0; i < flat.length; i += 2) fields[flat[i]] = flat[i + 1];
      kept.push({where: key, fields, ...judged(fields.event)});
    }
  }
  const state = Object.entries(await reader.hGetAll(asked.state));
  const newest = state.map(([where, text]) => ({where, ...judged(text)}));
  console.log(JSON.stringify({heard, kept, state: newest}));
  await Promise.all([subscriber.close(), reader.close()]);
})();
"""

Ajv = Callable[[Sequence[Mapping[str, Any]], Sequence[tuple[str, Any]]], list[str]]
"""(schemas, [(URI of a schema or of a part of one, value)]) -> what is wrong with each value."""


@dataclass(frozen=True, slots=True)
class Read:
    """What Node's client was told and found.

    Attributes:
        heard: of each message that was published, `where` (its channel), `message`, and what is
            `wrong` with it by its schema.
        kept: the same of the streams' entries, with the `fields` that they have.
        state: the same of the hash's fields.
    """

    heard: list[dict[str, Any]]
    kept: list[dict[str, Any]]
    state: list[dict[str, Any]]


NodeReads = Callable[..., Read]


@pytest.fixture(scope="session")
def node_packages() -> Path:
    """A folder in which Node finds the packages."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node and npm on the PATH")
    if not FOLDER.exists():
        _fetch()
    return FOLDER


@pytest.fixture(scope="session")
def ajv(node_packages: Path) -> Ajv:
    """Compiles schemas in strict mode and validates by them; a schema it refuses is an error."""

    def run(schemas: Sequence[Mapping[str, Any]], samples: Sequence[tuple[str, Any]]) -> list[str]:
        asked = [{"uri": uri, "value": value} for uri, value in samples]
        done = subprocess.run(
            ["node", "-e", VALIDATE + VALIDATOR],
            input=json.dumps({"schemas": schemas, "samples": asked}),
            cwd=node_packages,
            capture_output=True,
            text=True,
            timeout=RUN_LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found: list[str] = json.loads(done.stdout)
        return found

    return run


@pytest.fixture
def node_reads(node_packages: Path) -> NodeReads:
    """Subscribes and reads by RESP3, and validates all of it by schemas in ajv's strict mode."""

    def run(publish: Callable[[], object], **asked: object) -> Read:
        with subprocess.Popen(
            ["node", "-e", VALIDATE + READER],
            cwd=node_packages,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        ) as node:
            assert node.stdin is not None
            assert node.stdout is not None
            node.stdin.write(json.dumps({**asked, "limit_s": RUN_LIMIT_S}))
            node.stdin.close()
            node.stdin = None
            if node.stdout.readline() == "subscribed\n":
                publish()
            out, said = node.communicate(timeout=2 * RUN_LIMIT_S)
        assert node.returncode == 0, said[-2000:]
        return Read(**json.loads(out))

    return run


def _fetch() -> None:
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    # Fetched beside and renamed: a fetch that was cut short, or two at once, leave nothing broken.
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as folder:
        new = Path(folder) / "node"
        new.mkdir()
        (new / "package.json").write_text('{"private": true}')
        try:
            fetched = subprocess.run(
                ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES],
                cwd=new,
                capture_output=True,
                text=True,
                timeout=FETCH_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm does not fetch {PACKAGES} within {FETCH_LIMIT_S:.0f} s")
        if fetched.returncode:
            pytest.skip(f"npm cannot fetch {PACKAGES}: {fetched.stderr[-500:]}")
        if not FOLDER.exists():
            new.rename(FOLDER)
