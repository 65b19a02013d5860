"""Rendered camera scenes with exact ground truth: pixels, facts, captions and questions."""

from model.training.scenes.facts import Fact, Presence
from model.training.scenes.palette import COLOURS, KINDS
from model.training.scenes.scene import Scene, Seen, State, TokenLabels, downscaled

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
