"""Documents that are written from the code: `python -m tests.documents` writes them anew."""

from collections.abc import Callable, Mapping
from functools import partial

from pipeline.messages import KINDS
from tests.documents.messages import messages_document, schema_document
from tests.documents.metrics import metrics_document
from tests.documents.settings import settings_document
from worker.reference import example_env

DOCUMENTS: Mapping[str, Callable[[], str]] = {
    "deploy/MESSAGES.md": messages_document,
    "deploy/METRICS.md": metrics_document,
    "deploy/SETTINGS.md": settings_document,
    "deploy/worker.env.example": example_env,
    **{f"pipeline/schemas/{kind}.v1.json": partial(schema_document, kind) for kind in KINDS},
}
"""A file of the repository -> what makes its text."""
