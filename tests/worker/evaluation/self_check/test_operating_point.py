"""Where a self-check moves the settings to, and what it tells an operator to change."""

import pytest

from worker.environment import load
from worker.evaluation.self_check.operating_point import at_point, overridden, what_to_change

BASE = {"VIGIL_MODEL__PATH": "nano", "VIGIL_MODEL__MIN_MASS": "0.2", "VIGIL_WINDOW": "20s"}


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"VIGIL_FIDELITY": "balanced"},
        {"VIGIL_FIDELITY": "reference"},
        {"VIGIL_PRUNER__MODE": "last_seen", "VIGIL_MODEL__VISION": "isolated"},
    ],
)
def test_reference_is_the_same_from_wherever_one_starts(chosen: dict[str, str]) -> None:
    there = at_point(load(BASE | chosen), "reference")
    assert there == load(BASE | {"VIGIL_FIDELITY": "reference"})


@pytest.mark.parametrize(
    ("chosen", "advice"),
    [
        ({}, "set VIGIL_FIDELITY=balanced and run"),
        ({"VIGIL_FIDELITY": "balanced"}, "set VIGIL_FIDELITY=reference and run"),
        (
            {"VIGIL_FIDELITY": "reference", "VIGIL_PRUNER__MODE": "adaptive"},
            "unset VIGIL_PRUNER__MODE and run",
        ),
        ({"VIGIL_FIDELITY": "reference"}, "should not happen"),
    ],
)
def test_the_next_step_is_closer_to_reference(chosen: dict[str, str], advice: str) -> None:
    assert advice in what_to_change(load(BASE | chosen))


def test_what_an_operating_point_says_is_no_override() -> None:
    assert overridden(load(BASE | {"VIGIL_FIDELITY": "balanced"})) == []
    own = {"VIGIL_FIDELITY": "balanced", "VIGIL_PRUNER__REFRESH_EVERY": "10s"}
    assert overridden(load(BASE | own)) == ["VIGIL_PRUNER__REFRESH_EVERY"]
