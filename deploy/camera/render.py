"""Render the demo camera's clip, a held-out scene of the demo model's world, and its timeline.

    .venv/bin/python deploy/camera/render.py worker/demo/yard.mp4

Takes the first yard, of the scenes that are never trained on, with a stretch in which everything
worth showing happens, and which ends as it begins: nobody there, gate closed, lights on. So it
loops without a seam. `yard.json` beside the clip says what happens in it and when.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from model.scenes import KINDS, Scene
from model.scenes.backdrops import Layout
from model.scenes.canvas import HEIGHT_UNITS, WIDTH_UNITS
from model.scenes.sensor import Sensor
from model.training.rendered import FIRST_HELD_OUT_SEED
from worker.demo.timeline import Stay, Timeline

SCALE, FPS = 3, 6  # 924x504: whole pixels per pixel of what the model sees, 308x168
SCENE_S, SHORTEST_S, LONGEST_S = 160, 80, 115
SOON_S = 8.0  # somebody comes within so long: a short demo shows something too
LONGEST_LULL_S = 24.0
MOST_AT_ONCE = 3  # that come and go: more than that nobody follows
DARK_SHARE = 0.25
NOISE_LEVELS = 2.0
MAX_BYTES = 1_200_000
WANTED = {
    *(("person", "enters"), ("car", "enters"), ("gate", "opens"), ("gate", "closes")),
    *(("parcel", "is put down"), ("parcel", "is taken"), ("smoke", "starts"), ("smoke", "ends")),
}


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a scene, and what happens in it."""

    scene: Scene
    start_s: int
    timeline: Timeline

    def pictures(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the stretch as the camera gives it, (168 * SCALE, 308 * SCALE, 3) uint8 RGB."""
        for index in range(round(self.timeline.duration_s * FPS)):
            yield self.scene.frame(self.start_s + index / FPS, scale=SCALE)


def find(first_seed: int) -> Stretch:
    """Give the first stretch that is worth showing."""
    for seed in count(first_seed):
        sensor = Sensor.drawn(seed)
        is_good = not (sensor.wander or sensor.step_levels) and sensor.sigma_levels < NOISE_LEVELS
        if not is_good or Layout.drawn(np.random.default_rng([seed, 1])).place != "yard":
            continue
        scene = Scene.from_seed(seed, duration_s=float(SCENE_S))
        stills = {t_s for t_s in range(SCENE_S) if is_still(scene, t_s)}
        for start_s in sorted(t for t in stills if t + 1 not in stills):
            for end_s in sorted(t for t in stills if t - 1 in stills and t - 2 not in stills):
                if not SHORTEST_S <= end_s - start_s <= LONGEST_S:
                    continue
                duration_s = float(end_s - start_s)
                timeline = Timeline.of(scene, start_s=float(start_s), duration_s=duration_s)
                if is_worth_showing(timeline):
                    return Stretch(scene, start_s, timeline)
    raise AssertionError("seeds do not end")


def is_still(scene: Scene, t_s: float) -> bool:
    """Say whether a scene looks as it looks when nothing has ever happened."""
    state = scene.state(t_s)
    is_empty = not scene.seen(t_s) and state.smoke == state.fire == 0.0
    return is_empty and state.gate_open == 0.0 and state.lights_on


def is_worth_showing(timeline: Timeline) -> bool:
    """Say whether everything wanted happens, soon, in the light and without a long lull."""
    shown = [stay for stay in timeline.stays if stay.kind != "lights"]
    done = {(stay.kind, action) for stay in shown for action in (stay.comes, stay.goes)}
    missing = {
        (kind, action)
        for kind, action in WANTED
        if not any(k == kind and did.startswith(action) for k, did in done)
    }
    return (
        not missing
        and any(stay.kind == "person" and stay.start_s <= SOON_S for stay in shown)
        and lull_s(shown, timeline.duration_s) <= LONGEST_LULL_S
        and num_at_once(shown) <= MOST_AT_ONCE
        and dark_s(timeline) <= DARK_SHARE * timeline.duration_s
    )


def num_at_once(stays: list[Stay]) -> int:
    """Return how many people, animals and vehicles are there at most at one time."""
    movers = [stay for stay in stays if stay.kind in KINDS and stay.kind != "parcel"]
    return max(sum(one.start_s <= at.start_s < one.end_s for one in movers) for at in movers)


def lull_s(stays: list[Stay], duration_s: float) -> float:
    """Return the longest time in which nothing is there."""
    reached_s = longest_s = 0.0
    for stay in sorted(stays, key=lambda stay: stay.start_s):
        longest_s = max(longest_s, stay.start_s - reached_s)
        reached_s = max(reached_s, stay.end_s)
    return max(longest_s, duration_s - reached_s)


def dark_s(timeline: Timeline) -> float:
    """Return how long the lights are off."""
    lit = (stay for stay in timeline.stays if stay.kind == "lights")
    return timeline.duration_s - sum(stay.end_s - stay.start_s for stay in lit)


def encode(pictures: Iterator[NDArray[np.uint8]], path: Path) -> None:
    """Write pictures as H.264 with a key frame every two seconds.

    Raises:
        SystemExit: the file came out larger than it may be.
    """
    with av.open(path, "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height = WIDTH_UNITS * SCALE, HEIGHT_UNITS * SCALE
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, FPS)
        stream.codec_context.gop_size = 2 * FPS
        stream.codec_context.max_b_frames = 0
        stream.codec_context.options = {
            "preset": "slower",
            "crf": "28",
            "x264-params": "scenecut=0:open-gop=0",
        }
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    if path.stat().st_size > MAX_BYTES:
        raise SystemExit(f"expected at most {MAX_BYTES} bytes, got {path.stat().st_size}")


def main() -> None:
    """Find, tell, render."""
    parser = argparse.ArgumentParser(description="Render the demo camera's clip.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--from-seed", type=int, default=FIRST_HELD_OUT_SEED)
    parser.add_argument("--timeline-only", action="store_true", help="print it and render nothing")
    args = parser.parse_args()
    stretch = find(args.from_seed)
    for stay in stretch.timeline.stays:
        actions = (stay.comes, "stops" if stay.stops_s else "", stay.goes)
        print(stay.in_words([action for action in actions if action]))
    if args.timeline_only:
        return
    encode(stretch.pictures(), args.path)
    about = {"clip": args.path.name, "scene_seed": stretch.scene.seed, "scene_s": stretch.start_s}
    args.path.with_suffix(".json").write_text(stretch.timeline.written(**about), encoding="utf-8")


if __name__ == "__main__":
    main()
