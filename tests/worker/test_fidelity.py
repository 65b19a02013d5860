import pytest

from pipeline.errors import ConfigError
from worker.environment import load, variables
from worker.fidelity import POINTS, held_window_s
from worker.loading import engine_config
from worker.settings import Settings
from worker.wiring import new_pruner


def in_effect(environ: dict[str, str]) -> tuple[str, float, str]:
    """What the variables come to: the pruner's mode and refresh, the encoder's way."""
    shown = {name: value for name, value, _ in variables(load(environ))}
    return (
        str(shown["VIGIL_PRUNER__MODE"]),
        float(str(shown["VIGIL_PRUNER__REFRESH_EVERY"])),
        str(shown["VIGIL_MODEL__VISION"]),
    )


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ("adaptive", 0.0, "delta")),
        ({"VIGIL_FIDELITY": "fast"}, ("adaptive", 0.0, "delta")),
        ({"VIGIL_FIDELITY": "balanced"}, ("adaptive", 30.0, "full")),
        ({"VIGIL_FIDELITY": "reference"}, ("paper", 0.0, "full")),
        ({"vigil_fidelity": "reference"}, ("paper", 0.0, "full")),
    ],
)
def test_a_fidelity_is_an_operating_point(
    environ: dict[str, str], expected: tuple[str, float, str]
) -> None:
    assert in_effect(environ) == expected


@pytest.mark.parametrize("name", ["VIGIL_PRUNER__MODE", "vigil_pruner__mode"])
def test_a_setting_of_ones_own_wins(name: str) -> None:
    reference = {"VIGIL_FIDELITY": "reference"}
    assert in_effect(reference | {name: "adaptive"}) == ("adaptive", 0.0, "full")
    balanced = {"VIGIL_FIDELITY": "balanced", "VIGIL_PRUNER__REFRESH_EVERY": "0s"}
    assert in_effect(balanced | {"VIGIL_MODEL__VISION": "delta"}) == ("adaptive", 0.0, "delta")


def test_other_settings_of_the_same_group_stay() -> None:
    settings = load({"VIGIL_FIDELITY": "reference", "VIGIL_MODEL__DEVICE": "cpu"})
    assert settings.model.device == "cpu"
    assert settings.model.vision == "full"


def test_the_parts_are_built_at_it() -> None:
    settings = Settings.model_validate({"fidelity": "balanced"})
    assert engine_config(settings).vision == "full"
    assert new_pruner(settings)._refresh_every_s == 30.0


def test_every_fidelity_is_in_the_table() -> None:
    for name in POINTS:
        assert load({"VIGIL_FIDELITY": name}).fidelity == name
    with pytest.raises(ConfigError, match="VIGIL_FIDELITY: expected one of reference, balanced"):
        load({"VIGIL_FIDELITY": "best"})


def test_the_window_that_whole_pictures_leave_is_told() -> None:
    assert held_window_s(max_context_tokens=16_384, max_tokens_per_frame=144, sample_fps=1) == 106
    assert held_window_s(max_context_tokens=16_384, max_tokens_per_frame=144, sample_fps=4) == 26
    note = load({"VIGIL_FIDELITY": "reference"}).window_note()
    assert note == (
        "window of 106 s at most, not of 180 s: 16384 tokens hold no more pictures of 144 tokens"
    )


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"VIGIL_FIDELITY": "balanced"},
        {"VIGIL_FIDELITY": "reference", "VIGIL_WINDOW": "100s"},
        {"VIGIL_FIDELITY": "reference", "VIGIL_MODEL__MAX_TOKENS_PER_FRAME": "72"},
    ],
)
def test_a_window_that_is_held_is_not_spoken_of(environ: dict[str, str]) -> None:
    assert load(environ).window_note() is None
