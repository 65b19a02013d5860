import re
from pathlib import Path

import pytest

from pipeline.messages import KINDS, MessageKind, schema
from tests.documents import DOCUMENTS
from tests.documents.messages import fields
from tests.wire import validate
from worker.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_says_what_the_code_says(name: str) -> None:
    written = (ROOT / name).read_text(encoding="utf-8")
    assert written == DOCUMENTS[name](), "run: python -m tests.documents"


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_has_examples_that_keep_to_it(kind: MessageKind) -> None:
    shown = schema(kind)["examples"]
    assert shown
    for example in shown:
        validate(example)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_a_message_is_explained(kind: MessageKind) -> None:
    assert [name for name, _, meaning in fields(schema(kind)) if not meaning] == []


def test_every_metric_named_in_the_documents_is_served_by_that_name() -> None:
    served = Metrics().exposition().decode()
    names = set(re.findall(r"^# TYPE (\S+)", served, re.MULTILINE))
    for page in ("README.md", "deploy/README.md", "deploy/METRICS.md"):
        named = re.findall(r"\bvigil_[a-z_]+\b", (ROOT / page).read_text())
        assert set(named) <= names, page
