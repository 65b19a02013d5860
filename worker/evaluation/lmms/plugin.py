"""The classes that lmms-eval finds by the entry point `lmms_eval.models`. Only it imports this.

Whatever is ours is in `requests` and `responder`; here it is given lmms-eval's shape, twice: its
chat tasks cannot ask for likelihoods, those that `--force_simple` makes can.
"""

from pathlib import Path
from typing import Any

from lmms_eval.api.instance import GenerationResult
from lmms_eval.api.model import lmms
from lmms_eval.models.registry_v2 import ModelManifest

from pipeline.clock import SystemClock
from worker.benchmarks.report import say
from worker.evaluation.lmms.requests import Request, Requests
from worker.evaluation.lmms.responder import Mode, Responder

MODEL_ID = "vigil"
_HERE = "worker.evaluation.lmms.plugin"


class Vigil(lmms):  # type: ignore[misc]  # lmms-eval is not here when types are checked
    """A chat model: what is shown comes as messages."""

    is_simple = False

    def __init__(
        self,
        pretrained: str = "nano",
        mode: Mode = "reference",
        device: str = "auto",
        costs: str = "",
        **_others: Any,
    ) -> None:
        """Load the model.

        Args:
            pretrained: `nano`, a folder, or a repository on the hub.
            mode: `reference`, `balanced`, `fast` or `last4`.
            device: where it runs.
            costs: a file for what the evaluation costs; empty for none.
            _others: what lmms-eval hands to every model, batch sizes among it: prompts go one by
                one here.
        """
        super().__init__()
        responder = Responder(pretrained, mode, clock=SystemClock(), device=device or "auto")
        self._requests = Requests(responder, tell=say, costs_file=Path(costs) if costs else None)

    def generate_until(self, requests: list[Request]) -> list[str]:
        """Answer prompts."""
        return self._requests.replies(requests, self.task_dict)

    def generate_until_multi_round(self, requests: list[Request]) -> list[list[str]]:
        """Answer prompts that depend on the answers before."""
        return self._requests.rounds(requests, self.task_dict)

    def loglikelihood(self, requests: list[Request]) -> list[Any]:
        """Weigh continuations.

        lmms-eval 0.7.3 makes text of a bare pair, and passes on what is in a result of its own.
        """
        found = self._requests.likelihoods(requests, self.task_dict)
        return [GenerationResult(text=pair) for pair in found]


class SimpleVigil(Vigil):
    """The same for tasks of the older shape, which alone ask for likelihoods."""

    is_simple = True

    def generate_until(self, requests: list[Request]) -> list[str]:
        """Answer prompts."""
        return self._requests.plain_replies(requests, self.task_dict)


def manifest() -> Any:
    """Tell lmms-eval of the classes."""
    return ModelManifest(
        model_id=MODEL_ID,
        simple_class_path=f"{_HERE}.SimpleVigil",
        chat_class_path=f"{_HERE}.Vigil",
    )
