"""Settings moved to another operating point, and what is to be changed to get there."""

from collections.abc import Mapping

from worker.fidelity import POINTS, Fidelity
from worker.settings import PREFIX, Settings
from worker.site_settings import Part

_NEXT: Mapping[Fidelity, Fidelity] = {"fast": "balanced", "balanced": "reference"}

_TOUCHED = {
    group: {name for point in POINTS.values() for name in point.get(group, {})}
    for group in {group for point in POINTS.values() for group in point}
}
"""A group of settings -> those of it that some operating point changes."""


def at_point(settings: Settings, fidelity: Fidelity) -> Settings:
    """Return settings at an operating point, those that it chooses included, whoever set them."""
    parts: dict[str, Part] = {}
    for group, names in _TOUCHED.items():
        part: Part = getattr(settings, group)
        others = part.model_dump(exclude=names)
        chosen = POINTS[fidelity].get(group, {})
        parts[group] = type(part).model_validate({**others, **chosen})
    return settings.model_copy(update={"fidelity": fidelity, **parts})


def overridden(settings: Settings) -> list[str]:
    """Name the variables that were set to something else than the operating point says."""
    own = at_point(settings, settings.fidelity)
    return [
        f"{PREFIX}{group.upper()}__{name.upper()}"
        for group, names in sorted(_TOUCHED.items())
        for name in sorted(names)
        if getattr(getattr(settings, group), name) != getattr(getattr(own, group), name)
    ]


def what_to_change(settings: Settings) -> str:
    """Say what brings settings closer to what the model was trained on."""
    if own := overridden(settings):
        return f"unset {' and '.join(own)} and run this again"
    if settings.fidelity in _NEXT:
        return f"set {PREFIX}FIDELITY={_NEXT[settings.fidelity]} and run this again"
    return "the settings are those of reference: report this, it should not happen"
