"""The models that come with this package, by name."""

from pathlib import Path

NANO = Path(__file__).parent / "nano"
BUNDLED = {"nano": NANO}
