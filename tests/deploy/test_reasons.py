"""The run-book's table of reasons against the code's own words."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.load import LADDER

ROOT = Path(__file__).resolve().parents[2]
SPEAKERS = ("worker", "pipeline", "model/kinds")
SILENT = (
    "worker/evaluation/",
    "worker/benchmarks/",
    "worker/demo/",
    "worker/environment.py",
    "worker/cleaning.py",
)
DRIVERS = ("pipeline/sources/", "pipeline/publishers/")  # their words are typed
SAYING = {"lost": 0, "failed": 0, "Condition": 1}
"""A function that takes a status reason -> which argument it is; `set` takes it by name."""


def in_code() -> set[str]:
    """Every word that is given as a reason in the code."""
    found: set[str] = set()
    for folder in SPEAKERS:
        for path in (ROOT / folder).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(SILENT):
                tree = ast.parse(path.read_text(encoding="utf-8"))
                found |= set(reasons_of(tree, is_driver=name.startswith(DRIVERS)))
    return found - {""}


def reasons_of(tree: ast.Module, *, is_driver: bool) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from called_with(node)
        elif isinstance(node, ast.FunctionDef) and node.name == "_reason" and is_driver:
            if getattr(node.returns, "id", "") == "str":
                yield from words(ast.Module(node.body[1:] or node.body, []))
        elif isinstance(node, ast.Assign):
            yield from assigned(node.targets[0], node.value, is_driver=is_driver)


def called_with(node: ast.Call) -> Iterator[str]:
    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
    if name in SAYING and len(node.args) > SAYING[name]:
        yield from words(node.args[SAYING[name]])
    if name == "_tell":
        told = (one for one in node.args if isinstance(one, ast.Constant) and one.value)
        yield from (str(one.value) for one in told)
    if name in {*SAYING, "set"}:
        for keyword in node.keywords:
            if keyword.arg == "reason":
                yield from words(keyword.value)


def assigned(target: ast.expr, value: ast.expr, *, is_driver: bool) -> Iterator[str]:
    match target, value:
        case ast.Name(alias), ast.Subscript(ast.Name("Literal")) if alias.endswith("Reason"):
            yield from words(value)
        case ast.Name("reason"), _ if not is_driver:
            yield from words(value)
        case ast.Tuple([ast.Name("reason"), *_]), ast.Tuple([first, *_]):
            yield from words(first)


def words(node: ast.AST) -> Iterator[str]:
    """Constants in an expression; `f"load_{...}"` is one for each step of the ladder."""
    for part in ast.walk(node):
        if isinstance(part, ast.JoinedStr):
            prefix = part.values[0]
            assert isinstance(prefix, ast.Constant)
            assert prefix.value == "load_", "a reason put together in a new way: teach it here"
            yield from (f"load_{step.name}" for step in LADDER[1:])
        elif isinstance(part, ast.Constant) and part.value not in (None, "load_"):
            yield str(part.value)


def in_table() -> set[str]:
    page = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    table = page.split("\n## Reasons\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")]
    return {word for cell in cells for word in re.findall(r"`(\w+)`", cell)}


def test_the_run_book_explains_every_reason_and_no_other() -> None:
    """frigate users: `not_found`, `ended` and `corrupt` were told and explained nowhere."""
    code, table = in_code(), in_table()
    assert {"not_found", "ended", "corrupt", "outbox", "identical_frames", "in_doubt"} <= code
    assert sorted(code - table) == [], "reasons without a row in deploy/README.md, Reasons"
    assert sorted(table - code) == [], "rows of deploy/README.md, Reasons, that nothing gives"
