"""lmms-eval's requests, in the three forms that its tasks make them, answered by a responder.

Nothing here imports lmms-eval: a request is whatever has `args`, as its `Instance` has. Their
order is that of lmms-eval 0.7.3's `ConfigurableMessagesTask` and, for likelihoods, of its
`ConfigurableTask`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from model.errors import DataError, InputError
from pipeline.errors import FrameError, SourceError
from worker.evaluation.lmms.responder import Costs

MAX_NEW_TOKENS = 2048  # of a task that does not say: VideoLLaMA3's evaluation has this
MAX_ROUNDS = 1000
_UNUSABLE = (InputError, DataError, SourceError, FrameError, OSError)

Message = Mapping[str, Any]
Documents = Mapping[str, Mapping[str, Mapping[int, Any]]]
"""Task -> split -> number -> document."""


class Request(Protocol):
    """A request, as lmms-eval hands it over."""

    @property
    def args(self) -> tuple[Any, ...]: ...


class Responds(Protocol):
    """What is asked of a responder: see `responder.Responder`."""

    def reply(self, messages: Sequence[Message], *, max_new_tokens: int, costs: Costs) -> str: ...

    def likelihood(
        self, messages: Sequence[Message], continuation: str, *, costs: Costs
    ) -> tuple[float, bool]: ...


class Requests:
    """Answers requests one after the other, and keeps by task what they cost.

    A picture or a video that cannot be read costs its answer and not the whole evaluation: it is
    answered with nothing, counted, and told.
    """

    def __init__(
        self, responder: Responds, *, tell: Callable[[str], None], costs_file: Path | None = None
    ) -> None:
        """Begin with nothing asked.

        Args:
            responder: answers.
            tell: told of what could not be put.
            costs_file: where the costs are kept, as JSON by task; None for nowhere.
        """
        self._responder = responder
        self._tell = tell
        self._costs_file = costs_file
        self.costs: dict[str, Costs] = {}

    def replies(self, requests: Sequence[Request], documents: Documents) -> list[str]:
        """Answer `generate_until`: (context, messages of a document, options, number, ...)."""
        found = []
        for request in requests:
            _, messages_of, options, number, task, split = request.args
            messages = messages_of(documents[task][split][number])
            found.append(self._reply(messages, options, task))
        self._keep()
        return found

    def plain_replies(self, requests: Sequence[Request], documents: Documents) -> list[str]:
        """Answer a simple model's: (words, options, pictures of a document, ...)."""
        found = []
        for request in requests:
            words, options, visuals_of, number, task, split = request.args
            visuals = visuals_of(documents[task][split][number])
            found.append(self._reply(user_turn(visuals, words), options, task))
        self._keep()
        return found

    def rounds(self, requests: Sequence[Request], documents: Documents) -> list[list[str]]:
        """Answer `generate_until_multi_round`: each round's messages may depend on the answers."""
        found = []
        for request in requests:
            _, messages_of, options, number, task, split = request.args
            document = documents[task][split][number]
            messages, said, told = messages_of(document), list[str](), None
            while len(said) < MAX_ROUNDS:
                said.append(self._reply(messages, options, task))
                step = messages_of(
                    document,
                    round_idx=len(said),
                    previous_output=list(said),
                    previous_round_info=told,
                )
                if not (isinstance(step, tuple) and len(step) == 4):
                    break
                messages, is_over, _, told = step
                if is_over:
                    break
            found.append(said)
        self._keep()
        return found

    def likelihoods(
        self, requests: Sequence[Request], documents: Documents
    ) -> list[tuple[float, bool]]:
        """Answer `loglikelihood`: (words, what may follow, pictures of a document, ...)."""
        found = []
        for request in requests:
            words, follows, visuals_of, number, task, split = request.args
            document = documents[task][split][number]
            continuation = follows(document) if callable(follows) else str(follows)
            messages = user_turn(visuals_of(document), words)
            costs = self.costs.setdefault(task, Costs())
            try:
                # What separates words in a line is the template's here: an answer begins anew.
                told = self._responder.likelihood(messages, continuation.lstrip(), costs=costs)
            except _UNUSABLE as error:
                self._failed(task, error)
                told = (float("-inf"), False)
            found.append(told)
        self._keep()
        return found

    def _reply(self, messages: Sequence[Message], options: Mapping[str, Any], task: str) -> str:
        costs = self.costs.setdefault(task, Costs())
        limit = int(options.get("max_new_tokens") or MAX_NEW_TOKENS)
        try:
            said = self._responder.reply(messages, max_new_tokens=limit, costs=costs)
        except _UNUSABLE as error:
            self._failed(task, error)
            return ""
        return _until(said, options.get("until"))

    def _failed(self, task: str, error: Exception) -> None:
        self.costs[task].num_failed += 1
        self._tell(f"{task}: answered with nothing: {error}")

    def _keep(self) -> None:
        if self._costs_file is not None:
            found = {task: costs.as_json() for task, costs in self.costs.items()}
            self._costs_file.write_text(json.dumps(found), encoding="utf-8")


def user_turn(visuals: Sequence[Any] | None, words: str) -> list[Message]:
    """Make a message of pictures and videos, and words after them.

    A text names a file: a picture by its ending, a video by any other.
    """
    shown: list[Message] = [{"type": _type_of(one), "url": one} for one in visuals or ()]
    return [{"role": "user", "content": [*shown, {"type": "text", "text": words}]}]


def _type_of(visual: Any) -> str:
    if isinstance(visual, Mapping):
        return str(visual.get("type", "video"))
    endings = (".jpg", ".jpeg", ".png", ".webp")
    is_video = isinstance(visual, str) and not visual.lower().endswith(endings)
    return "video" if is_video else "image"


def _until(said: str, ends: Any) -> str:
    """Cut a text where the first of its ends begins."""
    for end in [ends] if isinstance(ends, str) else ends or ():
        if end:
            said = said.partition(end)[0]
    return said.strip()
