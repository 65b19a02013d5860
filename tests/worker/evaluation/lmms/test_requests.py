import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from model.errors import InputError
from worker.evaluation.lmms.requests import Requests, user_turn
from worker.evaluation.lmms.responder import Costs

DOCUMENTS = {"task": {"test": {0: {"q": "first"}, 1: {"q": "second"}, 2: {"q": "broken"}}}}
OPTIONS = {"max_new_tokens": 7, "until": ["\n"]}


@dataclass(frozen=True)
class Request:
    """As lmms-eval's `Instance` hands it over."""

    args: tuple[Any, ...]


@dataclass
class Echo:
    """Says the last words it was given, and what it was shown before them."""

    asked: list[Sequence[Mapping[str, Any]]] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)

    def reply(
        self, messages: Sequence[Mapping[str, Any]], *, max_new_tokens: int, costs: Costs
    ) -> str:
        costs.num_asked += 1
        self.asked.append(messages)
        self.limits.append(max_new_tokens)
        words = messages[-1]["content"][-1]["text"]
        if words == "broken":
            raise InputError("clip: expected a frame, got none")
        return f" said {words}\nand more"

    def likelihood(
        self, messages: Sequence[Mapping[str, Any]], continuation: str, *, costs: Costs
    ) -> tuple[float, bool]:
        costs.num_asked += 1
        self.asked.append(messages)
        return -float(len(continuation)), continuation == "no"


def messages_of(document: Mapping[str, str]) -> list[Mapping[str, Any]]:
    return user_turn(["clip.mp4"], document["q"])


def test_replies_come_in_order_and_end_where_the_task_says() -> None:
    echo = Echo()
    requests = [Request(("", messages_of, OPTIONS, n, "task", "test")) for n in (1, 0)]
    said = Requests(echo, tell=print).replies(requests, DOCUMENTS)
    assert said == ["said second", "said first"]
    assert echo.limits == [7, 7]
    assert echo.asked[0][0]["content"][0] == {"type": "video", "url": "clip.mp4"}


def test_what_cannot_be_shown_costs_its_answer_and_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    requests = Requests(Echo(), tell=told.append, costs_file=tmp_path / "costs.json")
    asked = [Request(("", messages_of, OPTIONS, n, "task", "test")) for n in (2, 0)]
    assert requests.replies(asked, DOCUMENTS) == ["", "said first"]
    assert (requests.costs["task"].num_asked, requests.costs["task"].num_failed) == (2, 1)
    assert told == ["task: answered with nothing: clip: expected a frame, got none"]
    assert '"num_failed": 1' in (tmp_path / "costs.json").read_text()


def test_rounds_go_on_until_the_task_says_so() -> None:
    def in_rounds(
        document: Mapping[str, str],
        round_idx: int | None = None,
        previous_output: Sequence[str] = (),
        previous_round_info: int | None = None,
    ) -> Any:
        if round_idx is None:
            return messages_of(document)
        if round_idx == 3:
            return None, True, previous_output, None
        seen = (previous_round_info or 0) + len(previous_output)
        return user_turn([], f"round {round_idx} {seen}"), False, previous_output, seen

    request = Request(("", in_rounds, OPTIONS, 0, "task", "test"))
    [said] = Requests(Echo(), tell=print).rounds([request], DOCUMENTS)
    assert said == ["said first", "said round 1 1", "said round 2 3"]


def test_likelihoods_are_of_what_follows_whether_named_or_looked_up() -> None:
    echo = Echo()

    def visuals_of(document: Mapping[str, str]) -> list[str]:
        return [f"{document['q']}.PNG"]

    def target(document: Mapping[str, str]) -> str:
        return document["q"]

    follows: list[str | Callable[[Mapping[str, str]], str]] = [" no", target]
    asked = [Request(("words", one, visuals_of, 0, "task", "test")) for one in follows]
    found = Requests(echo, tell=print).likelihoods(asked, DOCUMENTS)
    assert found == [(-2.0, True), (-5.0, False)]
    assert echo.asked[0][0]["content"][0] == {"type": "image", "url": "first.PNG"}


def test_lmms_eval_finds_a_chat_and_a_simple_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the names of lmms-eval that the plug-in imports."""

    class Base:
        def __init__(self) -> None:
            self.task_dict = DOCUMENTS

    @dataclass(frozen=True)
    class Manifest:
        model_id: str
        simple_class_path: str
        chat_class_path: str

    @dataclass(frozen=True)
    class Result:
        text: tuple[float, bool]

    parts: dict[str, dict[str, object]] = {
        "lmms_eval": {},
        "lmms_eval.api": {},
        "lmms_eval.api.instance": {"GenerationResult": Result},
        "lmms_eval.api.model": {"lmms": Base},
        "lmms_eval.models": {},
        "lmms_eval.models.registry_v2": {"ModelManifest": Manifest},
    }
    for name, contents in parts.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "worker.evaluation.lmms.plugin", raising=False)
    plugin = importlib.import_module("worker.evaluation.lmms.plugin")
    monkeypatch.delitem(sys.modules, "worker.evaluation.lmms.plugin")
    monkeypatch.setattr(plugin, "Responder", lambda *_, **__: Echo())
    found = plugin.manifest()
    for path, is_simple in ((found.chat_class_path, False), (found.simple_class_path, True)):
        model = getattr(plugin, path.rpartition(".")[2])("nano", batch_size=1)
        assert model.is_simple == is_simple
        if is_simple:
            request = Request(("plain", OPTIONS, lambda _: ["clip.mp4"], 0, "task", "test"))
            assert model.generate_until([request]) == ["said plain"]
            request = Request(("plain", " no", lambda _: ["clip.mp4"], 0, "task", "test"))
            assert model.loglikelihood([request]) == [Result((-2.0, True))]
        else:
            request = Request(("", messages_of, OPTIONS, 0, "task", "test"))
            assert model.generate_until([request]) == ["said first"]
