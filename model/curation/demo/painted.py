"""Pictures with known truth: a subject on textured ground, its captions, and what is wrong with it.

One in some is spoiled in one way (`Kind`); curation must find those and no others. Everything is
drawn from a seed and the picture's number, so that a picture does not depend on the others.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

COLOURS = {
    "red": (214, 40, 40),
    "green": (52, 150, 66),
    "blue": (46, 84, 208),
    "yellow": (240, 208, 44),
    "white": (246, 246, 246),
    "black": (18, 18, 18),
}
SHAPES = ("disc", "square", "triangle", "cross")
PLACES = ("left", "middle", "right")
GROUNDS = {"sand": (196, 172, 128), "water": (96, 150, 170), "stone": (128, 128, 132)}
SIDE_PX = 64
_SKEW = 0.45  # how much commoner a word is than the next: a crawl is not balanced either


class Kind(StrEnum):
    """What is wrong with a picture."""

    SOUND = "sound"
    DUPLICATE = "duplicate"
    STRETCHED = "stretched"
    BLANK = "blank"
    SPOILED = "spoiled"
    MISCAPTIONED = "miscaptioned"


SHARES = {
    Kind.DUPLICATE: 0.06,
    Kind.STRETCHED: 0.05,
    Kind.BLANK: 0.05,
    Kind.SPOILED: 0.06,
    Kind.MISCAPTIONED: 0.08,
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What a picture shows, one word of each row above."""

    colour: str
    shape: str
    place: str
    ground: str

    @property
    def short(self) -> str:
        """A few words, as people caption a picture."""
        return f"a {self.colour} {self.shape}"

    @property
    def detailed(self) -> str:
        """All that is to be said."""
        return f"a {self.colour} {self.shape} on {self.ground} at the {self.place}"


@dataclass(frozen=True, slots=True)
class Painted:
    """A picture with its truth.

    Attributes:
        number: which it is.
        kind: what is wrong with it.
        subject: what it shows.
        caption: what it is said to show.
        image: the encoded picture.
        twin: for a duplicate, the number of the picture that it shows again.
    """

    number: int
    kind: Kind
    subject: Subject
    caption: str
    image: bytes
    twin: int | None = None


def paint(number: int, *, seed: int) -> Painted:
    """Paint one picture.

    Args:
        number: which; a duplicate shows again one of the 50 before it that is sound.
        seed: of all pictures.
    """
    kind, shown, subject = truth(number, seed=seed)
    rng = np.random.default_rng((seed, number))
    caption, twin = subject.detailed, shown if shown != number else None
    picture = draw(subject, np.random.default_rng((seed, shown, 1)))
    if kind is Kind.DUPLICATE:
        image = encoded(_slightly_other(picture, rng), quality=int(rng.integers(70, 92)))
        return Painted(number, kind, subject, caption, image, twin)
    if kind is Kind.STRETCHED:
        picture = picture.resize((int(SIDE_PX * rng.uniform(4, 7)), SIDE_PX))
        picture = picture.transpose(Image.Transpose.ROTATE_90) if rng.random() < 0.5 else picture
    elif kind is Kind.BLANK:
        picture = _blank(rng)
    elif kind is Kind.SPOILED:
        picture = spoiled(picture, rng)
    elif kind is Kind.MISCAPTIONED:
        caption = _another(subject, rng).detailed
    return Painted(number, kind, subject, caption, encoded(picture, quality=90), twin)


def painted(count: int, *, seed: int) -> Iterator[Painted]:
    """Paint the first `count` pictures, one at a time."""
    for number in range(count):
        yield paint(number, seed=seed)


def truth(number: int, *, seed: int) -> tuple[Kind, int, Subject]:
    """Say what is wrong with a picture, which picture it shows (a duplicate's twin), and what."""
    kind = _kind_of(number, seed=seed)
    shown = _twin_of(number, seed=seed) if kind is Kind.DUPLICATE else number
    return kind, shown, _subject_of(shown, seed=seed)


def _subject_of(number: int, *, seed: int) -> Subject:
    """Draw what a picture shows; the first words of each row are the commonest."""
    rng = np.random.default_rng((seed, number, 2))
    colour, shape, place, ground = (
        words[min(int(rng.exponential(len(words) * _SKEW)), len(words) - 1)]
        for words in (tuple(COLOURS), SHAPES, PLACES, tuple(GROUNDS))
    )
    return Subject(colour, shape, place, ground)


def any_subject(rng: np.random.Generator) -> Subject:
    """Draw a subject evenly, to learn from."""
    colour, shape, place, ground = (
        words[rng.integers(len(words))]
        for words in (tuple(COLOURS), SHAPES, PLACES, tuple(GROUNDS))
    )
    return Subject(colour, shape, place, ground)


def draw(subject: Subject, rng: np.random.Generator) -> Image.Image:
    """Draw a subject on its ground, no two alike: (64 to 96) x 64 px RGB."""
    width, height = int(rng.integers(SIDE_PX, SIDE_PX * 3 // 2)), SIDE_PX
    coarse = rng.normal(0, 26, (7, 9, 1)) + rng.normal(0, 5, (7, 9, 3))
    ground = np.clip(np.array(GROUNDS[subject.ground]) + coarse, 0, 255).astype(np.uint8)
    picture = Image.fromarray(ground).resize((width, height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    half = rng.uniform(10, 15)
    x = width * (PLACES.index(subject.place) + 0.5 + rng.uniform(-0.12, 0.12)) / len(PLACES)
    y = height * rng.uniform(0.35, 0.65)
    fill = tuple(int(np.clip(c + rng.normal(0, 8), 0, 255)) for c in COLOURS[subject.colour])
    box = (x - half, y - half, x + half, y + half)
    if subject.shape == "disc":
        pen.ellipse(box, fill=fill)
    elif subject.shape == "square":
        pen.rectangle(box, fill=fill)
    elif subject.shape == "triangle":
        pen.polygon([(x, y - half), (x + half, y + half), (x - half, y + half)], fill=fill)
    else:
        arm = half / 3
        pen.rectangle((x - arm, y - half, x + arm, y + half), fill=fill)
        pen.rectangle((x - half, y - arm, x + half, y + arm), fill=fill)
    return picture


def spoiled(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Ruin a picture as a bad camera does: out of focus and full of noise."""
    blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(5)), dtype=np.float32)
    noise = rng.normal(0, rng.uniform(50, 80), blurred.shape)
    return Image.fromarray(np.clip(blurred + noise, 0, 255).astype(np.uint8))


def _kind_of(number: int, *, seed: int) -> Kind:
    draw = np.random.default_rng((seed, number, 3)).random()
    for kind, share in SHARES.items():
        if draw < share:
            return kind if kind is not Kind.DUPLICATE or number >= 50 else Kind.SOUND
        draw -= share
    return Kind.SOUND


def _twin_of(number: int, *, seed: int) -> int:
    rng = np.random.default_rng((seed, number, 4))
    start = number - 1 - int(rng.integers(40))
    return next(n for n in range(start, -1, -1) if _kind_of(n, seed=seed) is Kind.SOUND)


def _another(subject: Subject, rng: np.random.Generator) -> Subject:
    """Draw a subject of another colour and another shape."""
    while True:
        other = any_subject(rng)
        if other.colour != subject.colour and other.shape != subject.shape:
            return other


def _slightly_other(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Copy a picture as the web does: as it is, or smaller, or brighter."""
    way = rng.integers(3)
    if way == 1:
        scale = rng.uniform(0.75, 0.95)
        size = (round(picture.width * scale), round(picture.height * scale))
        return picture.resize(size, Image.Resampling.BICUBIC)
    if way == 2:
        return picture.point(lambda level: min(255, int(level * 1.04)))
    return picture


def _blank(rng: np.random.Generator) -> Image.Image:
    level = rng.integers(0, 256, 3)
    pixels: NDArray[np.float64] = level + rng.normal(0, 1.0, (SIDE_PX, SIDE_PX, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def encoded(picture: Image.Image, *, quality: int = 90) -> bytes:
    """Encode a picture as a JPEG."""
    held = io.BytesIO()
    picture.save(held, format="JPEG", quality=quality)
    return held.getvalue()
