"""Documents that are written from the code: `python -m tests.documents` writes them anew."""

from collections.abc import Callable, Mapping

from tests.documents.messages import messages_document
from tests.documents.metrics import metrics_document
from tests.documents.settings import settings_document
from worker.reference import example_env

DOCUMENTS: Mapping[str, Callable[[], str]] = {
    "deploy/MESSAGES.md": messages_document,
    "deploy/METRICS.md": metrics_document,
    "deploy/SETTINGS.md": settings_document,
    "deploy/worker.env.example": example_env,
}
"""A file of the repository -> what makes its text."""
