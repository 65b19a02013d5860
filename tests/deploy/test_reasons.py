"""The run-book's table of reasons against the types that the code may give."""

import re
from pathlib import Path
from typing import get_args

from model.kinds.base import Reason
from pipeline.errors import SourceReason
from pipeline.load import LADDER, LoadReason
from pipeline.messages import EndReason
from pipeline.sources.record import RefusalReason
from pipeline.types import StatusReason

RUN_BOOK = Path(__file__).resolve().parents[2] / "deploy" / "README.md"


def in_code() -> set[str]:
    kinds = (StatusReason, LoadReason, Reason, EndReason, RefusalReason)
    return {word for kind in kinds for word in get_args(kind)}


def in_table() -> set[str]:
    table = RUN_BOOK.read_text(encoding="utf-8").split("\n## Reasons\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")]
    return {word for cell in cells for word in re.findall(r"`(\w+)`", cell)}


def test_the_run_book_explains_every_reason_and_no_other() -> None:
    """frigate users: `not_found`, `ended` and `corrupt` were told and explained nowhere."""
    code, table = in_code(), in_table()
    assert sorted(code - table) == [], "reasons without a row in deploy/README.md, Reasons"
    assert sorted(table - code) == [], "rows of deploy/README.md, Reasons, that nothing gives"


def test_a_status_may_say_all_that_a_source_or_the_load_says() -> None:
    assert {*get_args(SourceReason), *(step.name for step in LADDER[1:])} <= {
        *get_args(StatusReason)
    }
