"""Scene: one rendered camera scene from a seed: its pixels, and the whole truth about them."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, Self

import numpy as np
import numpy.typing as npt

from model.scenes import facts, fixtures, sensor
from model.scenes.actors import PHASES, STRIDE_UNITS, Look, Pose, drawing, shadow
from model.scenes.backdrops import Layout, Place, backdrop
from model.scenes.canvas import HEIGHT_UNITS, WIDTH_UNITS, Canvas, Plane, laid, stamped
from model.scenes.casting import cast
from model.scenes.facts import Fact, Presence
from model.scenes.palette import COLOURS, KINDS
from model.scenes.script import Life, Script, hidden_share

TOKEN_UNITS: Final = 28
ROWS: Final = HEIGHT_UNITS // TOKEN_UNITS
COLUMNS: Final = WIDTH_UNITS // TOKEN_UNITS
COVERED: Final = 0.12  # the share of a token an object must cover to label it
SMOKE, FIRE, GATE_OPEN, GATE_CLOSED = 6, 7, 8, 9
_NIGHT: Final = np.asarray((0.94, 0.98, 1.10), dtype=np.float32)  # light without the lamp is blue
_MOVING_UNITS_S: Final = 2.0

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Seen:
    """An object in view at a moment; ``box`` in units, clipped to the picture."""

    subject_id: int
    kind: str
    colour: str
    box: tuple[float, float, float, float]
    visible: float  # share of it inside the picture, 0 to 1
    hidden: float  # share of it behind nearer objects, by their boxes
    is_moving: bool
    heading: Literal["left", "right", ""]


@dataclass(frozen=True, slots=True)
class State:
    """The fixtures at a moment."""

    gate_open: float  # 0 to 1
    lights_on: bool
    smoke: float  # 0 to 1
    fire: float


@dataclass(frozen=True, slots=True)
class TokenLabels:
    """What each 28 x 28 unit token shows, (6, 11) each."""

    kind: Pixels  # 0 none, 1 + index in KINDS, 6 smoke, 7 fire, 8 gate open, 9 gate closed
    colour: Pixels  # 0 none, 1 + index in COLOURS
    part: Pixels  # 1 where an object's anchor lies: a person's head, else the middle


class Scene:
    """A fixed camera's view of one place for ``duration_s`` seconds, all of it from ``seed``."""

    def __init__(self, seed: int, layout: Layout, script: Script) -> None:
        self.seed = seed
        self.duration_s = script.duration_s
        self.layout = layout
        self.script = script
        self.timeline: tuple[Fact, ...] = facts.timeline(script)
        self._sensor = sensor.Sensor.drawn(seed)
        rng = np.random.default_rng([seed, 5])
        self._dark = float(rng.uniform(0.25, 0.40))
        self._tone = float(rng.uniform(120.0, 190.0))
        self._settled = float(rng.uniform(1.05, 1.5))
        self._looks = {
            life.subject_id: Look.drawn(life.kind, life.colour, rng) for life in script.lives
        }
        self._still = lru_cache(maxsize=2)(lambda scale: backdrop(layout, scale=scale))
        self._gate = lru_cache(maxsize=32)(
            lambda opening, scale: fixtures.gate(layout, opening=opening, scale=scale)
        )
        self._lamp = lru_cache(maxsize=4)(
            lambda on, scale: fixtures.lamp(layout, on=on, scale=scale)
        )
        self._drawing = lru_cache(maxsize=512)(self._draw)

    @classmethod
    def from_seed(cls, seed: int, *, duration_s: float = 32.0, is_busy: bool = False) -> Self:
        """The scene of this seed; a busy one has five movers or more in most of its episodes.

        Raises:
            ValueError: the duration is not positive.
        """
        if duration_s <= 0:
            raise ValueError(f"duration_s must be positive, came {duration_s}")
        layout = Layout.drawn(np.random.default_rng([seed, 1]))
        return cls(seed, layout, cast(layout, seed, duration_s=duration_s, is_busy=is_busy))

    @property
    def place(self) -> Place:
        """The kind of place."""
        return self.layout.place

    # ------------------------------------------------------------ truth

    def seen(self, t_s: float) -> tuple[Seen, ...]:
        """The objects of which any part is inside the picture."""
        alive = [life for life in self.script.lives if life.alive(t_s)]
        found = []
        for life in alive:
            visible = life.visible(t_s)
            if visible <= 0.0:
                continue
            x0, y0, x1, y1 = life.box(t_s)
            speed = life.speed(t_s)
            moving = abs(speed) > _MOVING_UNITS_S
            heading: Literal["left", "right", ""] = ""
            if moving:
                heading = "right" if speed > 0 else "left"
            found.append(
                Seen(
                    subject_id=life.subject_id,
                    kind=life.kind,
                    colour=life.colour,
                    box=(max(0.0, x0), max(0.0, y0), min(float(WIDTH_UNITS), x1), y1),
                    visible=visible,
                    hidden=hidden_share(life, alive, t_s),
                    is_moving=moving,
                    heading=heading,
                )
            )
        return tuple(found)

    def state(self, t_s: float) -> State:
        """The gate, the lights, smoke and fire."""
        script = self.script
        return State(
            gate_open=script.gate.at(t_s),
            lights_on=script.lights.at(t_s) > 0.5,
            smoke=script.smoke.at(t_s),
            fire=script.fire.at(t_s),
        )

    def presence(self) -> list[Presence]:
        """The spans of everything that lasts: objects half in view, fixtures on, open, burning."""
        return facts.presence(self.script)

    # ------------------------------------------------------------ pixels

    def clean(self, t_s: float, *, scale: int = 2) -> Pixels:
        """The picture without a sensor: uint8 RGB (168 * scale, 308 * scale, 3)."""
        light = self._light(t_s, scale)
        light += np.float32(0.5)
        np.clip(light, 0.0, 255.0, out=light)
        return light.astype(np.uint8)

    def frame(self, t_s: float, *, scale: int = 2) -> Pixels:
        """The picture as the camera gives it: uint8 RGB, the same for the same seed and time."""
        return self._sensor.frame(self._light(t_s, scale), t_s, exposure=self._exposure(t_s))

    def _exposure(self, t_s: float) -> float:
        """The gain of the automatic exposure: it follows each change of the lights, slowly."""
        lights = self.script.lights
        lit, since_s = lights.values[0], lights.times_s[0]
        exposure = self._goal(lit)
        for when_s, value in zip(lights.times_s, lights.values, strict=True):
            if when_s > t_s:
                break
            exposure = sensor.exposure_after(
                when_s - since_s, before=exposure, after=self._goal(lit)
            )
            lit, since_s = value, when_s
        return sensor.exposure_after(t_s - since_s, before=exposure, after=self._goal(lit))

    def _goal(self, lit: float) -> float:
        return 1.0 if lit > 0.5 else self._settled

    def _gain(self, t_s: float) -> float:
        return self._dark + (1.0 - self._dark) * self.script.lights.at(t_s)

    def _light(self, t_s: float, scale: int) -> Plane:
        script = self.script
        opening = round(script.gate.at(t_s) * fixtures.GATE_STEPS) / fixtures.GATE_STEPS
        gain = self._gain(t_s)
        lamp_on = script.lights.at(t_s) > 0.5
        picture: Plane = self._still(scale).rgb.copy()
        laid(picture, self._gate(opening, scale), 0.0, 0.0)
        laid(picture, self._lamp(lamp_on, scale), *self.layout.lamp)
        smoke, fire = script.smoke.at(t_s), script.fire.at(t_s)
        if smoke > 0.02:
            plume = fixtures.smoke(
                self.layout, strength=smoke, t_s=t_s, tone=self._tone, scale=scale
            )
            laid(picture, plume, 0.0, 0.0)
        if fire > 0.02:
            flame = fixtures.fire(self.layout, strength=fire, t_s=t_s, scale=scale)
            laid(picture, flame, 0.0, 0.0, gain=1.0 / gain)
        alive = sorted(
            (life for life in script.lives if life.visible(t_s) > 0.0),
            key=lambda life: (life.foot_y, life.subject_id),
        )
        for life in alive:
            laid(picture, _shadow(life.kind, life.size, scale), life.x.at(t_s), life.foot_y)
        for life in alive:
            laid(picture, self._posed(life, t_s, scale), life.x.at(t_s), life.foot_y)
        if gain < 0.999:
            tint = 1.0 + (_NIGHT - 1.0) * ((1.0 - gain) / (1.0 - self._dark))
            picture *= (tint * gain).astype(np.float32)
        return picture

    def _posed(self, life: Life, t_s: float, scale: int) -> Canvas:
        x, speed = life.x.at(t_s), life.speed(t_s)
        moving = abs(speed) > _MOVING_UNITS_S
        left = speed < 0 if moving else life.faces_left
        phase = 0
        if moving:
            phase = int(x / STRIDE_UNITS.get(life.kind, 30.0) / life.size * PHASES) % PHASES
            phase = -phase % PHASES if left else phase
        return self._drawing(life.subject_id, Pose(life.size, phase, moving, left), scale)

    def _draw(self, subject_id: int, pose: Pose, scale: int) -> Canvas:
        return drawing(self._looks[subject_id], pose, scale=scale)

    # ------------------------------------------------------------ tokens

    def token_labels(self, t_s: float) -> TokenLabels:
        """What each token shows: whatever covers most of it, if that is at least 12 %."""
        covers: list[tuple[int, int, Plane]] = []
        state = self.state(t_s)
        x0, y0, x1, y1 = self.layout.gate
        gate = np.zeros((HEIGHT_UNITS, WIDTH_UNITS), dtype=np.float32)
        gate[round(y0) : round(y1), round(x0) : round(x1)] = 1.0
        covers.append((GATE_OPEN if state.gate_open > 0.5 else GATE_CLOSED, 0, gate))
        for code, strength, paint in (
            (SMOKE, state.smoke, fixtures.smoke_cover),
            (FIRE, state.fire, fixtures.fire_cover),
        ):
            if strength > 0.02:
                mask = np.zeros_like(gate)
                stamped(mask, paint(self.layout, strength=strength, t_s=t_s), 0.0, 0.0, value=1.0)
                covers.append((code, 0, mask))
        part = np.zeros((ROWS, COLUMNS), dtype=np.uint8)
        for life in sorted(self.script.lives, key=lambda life: (life.foot_y, life.subject_id)):
            if life.visible(t_s) <= 0.0:
                continue
            figure = self._posed(life, t_s, 1)
            for _, _, mask in covers:
                stamped(mask, figure, life.x.at(t_s), life.foot_y, value=0.0)
            mask = np.zeros_like(gate)
            stamped(mask, figure, life.x.at(t_s), life.foot_y, value=1.0)
            covers.append((1 + KINDS.index(life.kind), 1 + COLOURS.index(life.colour), mask))
            _mark(part, life, t_s)
        shares = np.stack([_token_means(mask) for _, _, mask in covers])
        largest = shares.argmax(axis=0)
        enough = shares.max(axis=0) >= COVERED
        kinds = np.asarray([kind for kind, _, _ in covers], dtype=np.uint8)
        colours = np.asarray([colour for _, colour, _ in covers], dtype=np.uint8)
        return TokenLabels(
            kind=np.where(enough, kinds[largest], 0).astype(np.uint8),
            colour=np.where(enough, colours[largest], 0).astype(np.uint8),
            part=part,
        )


def _mark(part: Pixels, life: Life, t_s: float) -> None:
    x0, y0, x1, y1 = life.box(t_s)
    x = (x0 + x1) / 2
    y = y0 + (y1 - y0) * (0.1 if life.kind == "person" else 0.5)
    if 0.0 <= x < WIDTH_UNITS and 0.0 <= y < HEIGHT_UNITS:
        part[int(y) // TOKEN_UNITS, int(x) // TOKEN_UNITS] = 1


def _token_means(mask: Plane) -> Plane:
    tokens = mask.reshape(ROWS, TOKEN_UNITS, COLUMNS, TOKEN_UNITS)
    means: Plane = tokens.mean(axis=(1, 3))
    return means


@lru_cache(maxsize=256)
def _shadow(kind: str, size: float, scale: int) -> Canvas:
    return shadow(kind, size=size, scale=scale)


def downscaled(pixels: Pixels, *, factor: int) -> Pixels:
    """The area mean: uint8 (H, W, 3) to (H / factor, W / factor, 3).

    Raises:
        ValueError: the sides are no multiples of ``factor``.
    """
    height, width, depth = pixels.shape
    if height % factor or width % factor:
        raise ValueError(f"expected sides divisible by {factor}, came {height} x {width}")
    total = np.zeros((height // factor, width // factor, depth), dtype=np.uint16)
    for row in range(factor):
        for column in range(factor):
            total += pixels[row::factor, column::factor]
    area = factor * factor
    mean: Pixels = ((total + area // 2) // area).astype(np.uint8)
    return mean
