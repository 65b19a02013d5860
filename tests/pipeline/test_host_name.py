import socket
import threading

import pytest

from pipeline.host_name import unresolved


def test_a_name_that_resolves_is_not_told() -> None:
    assert unresolved("localhost", timeout_s=5.0) is None
    assert unresolved("127.0.0.1", timeout_s=5.0) is None
    assert unresolved("::1", timeout_s=5.0) is None


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a..b", "a" * 64 + ".invalid", "a b"])
def test_a_name_that_does_not_is_told_with_the_resolvers_word(name: str) -> None:
    said = unresolved(name, timeout_s=30.0)
    assert said is not None
    assert said.startswith(f"the name {name} does not resolve: ")
    assert said[-1] != " "


def test_a_resolver_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(60))
    said = unresolved("gate.local", timeout_s=0.05)
    over.set()
    assert said == "the name gate.local does not resolve: no answer for 0.05 s"
