"""Rendered camera scenes with exact ground truth: pixels, facts, captions and questions."""

from model.scenes.facts import Fact, Presence
from model.scenes.palette import COLOURS, KINDS
from model.scenes.scene import Scene, Seen, State, TokenLabels, downscaled

__all__ = [
    "COLOURS",
    "KINDS",
    "Fact",
    "Presence",
    "Scene",
    "Seen",
    "State",
    "TokenLabels",
    "downscaled",
]
