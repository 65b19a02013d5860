"""An endless, numbered row of samples from rendered scenes, the same for the same seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from model.family import Prompt
from model.scenes import KINDS, Scene
from model.training.memo import ClipMemo
from model.training.sample import Sample
from model.training.samples import Asked, Prune, asked_of, image_sample, script_sample, watch
from model.training.stages import Kind
from model.types import PrunedFrame
from model.videollama3.prompt import NANO_2

FIRST_HELD_OUT_SEED = 10_000_000
"""Scenes from here on are never trained on."""
LATEST_START_S = 14.0
SHORTEST_FRAMES, LONGEST_FRAMES = 6, 28
AFTER_S = 2.0  # that a scene goes on behind the latest context
SCENE_S = LATEST_START_S + LONGEST_FRAMES + AFTER_S
SHORTEST_PART = 5
LONGEST_SCRIPT_FRAMES = 12  # words are longer than tokens of a picture

ASKED_OF_CLIPS = (
    *("yes_no", "yes_no", "yes_no", "choice", "choice", "choice", "count", "text", "grounding"),
    *("caption", "caption", "caption", "caption"),
)
"""Yes and no are one bit of some thirty topics, a letter is to be looked up among as many as nine
options, and a caption is to say all that happened."""
SOON_LEARNT = MappingProxyType(
    dict.fromkeys(
        (
            *(f"{kind} in view" for kind in KINDS),
            *("smoke", "fire", "fire or smoke", "gate open", "gate closed"),
            *("lights on", "lights off"),
        ),
        0.15,
    )
)
"""Topics that one picture answers: a few questions keep them, the rest are of what is hard."""
STILL = MappingProxyType({"moving": 0.26})
"""Whether anything is moving is asked wherever the truth tells. As frames that change nothing are
not shown, it is yes four times as often as no: so many of the yes are put."""
ASKED: Mapping[Kind, Asked] = {
    "image": Asked(1, 12, tasks=("yes_no", "yes_no", "choice", "count", "text", "caption")),
    "text": Asked(3, 5),
    "video": Asked(1, 16, tasks=ASKED_OF_CLIPS, shares=SOON_LEARNT, also=STILL),
    "streaming": Asked(5, 6, tasks=ASKED_OF_CLIPS, shares=SOON_LEARNT, also=STILL),
    "grounding": Asked(2, 6, tasks=("grounding", "yes_no", "caption")),
}
SPOKEN: Kind = "streaming"
"""The kind of sample that says after which frames something is worth saying."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """Samples by number.

    Attributes:
        mix: shares of the kinds of sample.
        seed: of the choices; scenes are numbered from `first_scene`.
        prune: the camera's pruner.
        memo: clips made before.
        num_scenes: how many there are; sample n is of scene n modulo this, asked anew.
        first_scene: the seed of the first scene.
        image_merge: patches per token side of single images.
        prompt: how questions are put.
        longest_frames: a context grows to 6 to so many seconds.
        busy_share: of the scenes, how many have five movers or more.
    """

    mix: Mapping[Kind, float]
    seed: int
    prune: Prune
    memo: ClipMemo
    num_scenes: int
    first_scene: int = 0
    image_merge: int = 2
    prompt: Prompt = NANO_2
    longest_frames: int = LONGEST_FRAMES
    busy_share: float = 0.0

    def sample(self, index: int) -> Sample:
        """Give sample `index`."""
        rng = np.random.default_rng((self.seed, index))
        kinds, shares = list(self.mix), np.array(list(self.mix.values()), dtype=np.float64)
        kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
        asked = replace(ASKED[kind], prompt=self.prompt)
        if kind == "text":
            # Words and single pictures are soon made: each is of a scene of its own.
            scene = self._scene(self.first_scene + self.num_scenes + index)
            start_s, num_frames = stretch(rng)
            return script_sample(
                scene,
                start_s=start_s,
                num_frames=min(num_frames, LONGEST_SCRIPT_FRAMES),
                asked=asked,
                rng=rng,
            )
        if kind == "image":
            scene = self._scene(self.first_scene + self.num_scenes + index)
            time_s = float(rng.integers(0, int(scene.duration_s)))
            return image_sample(
                scene, time_s=time_s, asked=asked, rng=rng, merge_size=self.image_merge
            )
        scene, frames = self._clip(index)
        longest = int(rng.integers(min(len(frames), SHORTEST_PART), len(frames) + 1))
        part, until_s = part_of(frames, num_frames=longest, rng=rng)
        return asked_of(
            scene, part, asked=asked, rng=rng, until_s=until_s, is_spoken=kind == SPOKEN
        )

    def clip(self, index: int) -> tuple[Scene, tuple[PrunedFrame, ...]]:
        """Give clip `index` and its scene."""
        return self._clip(index)

    def _clip(self, index: int) -> tuple[Scene, tuple[PrunedFrame, ...]]:
        seed = self.first_scene + index % self.num_scenes
        scene = self._scene(seed)
        rng = np.random.default_rng((seed, 1))
        start_s, num_frames = stretch(rng, longest_frames=self.longest_frames)
        frames = self.memo.get(
            self._key(seed),
            lambda: watch(scene, start_s=start_s, num_frames=num_frames, prune=self.prune),
        )
        return scene, frames

    def _scene(self, seed: int) -> Scene:
        seconds = LATEST_START_S + self.longest_frames + AFTER_S
        return Scene.from_seed(seed, duration_s=seconds, is_busy=self._is_busy(seed))

    def _is_busy(self, seed: int) -> bool:
        return bool(np.random.default_rng((seed, 3)).random() < self.busy_share)

    def _key(self, seed: int) -> str:
        """Name a clip: the same scene of another length or business is another one."""
        length = "" if self.longest_frames == LONGEST_FRAMES else f"-{self.longest_frames}"
        return f"{seed}{length}{'-busy' if self._is_busy(seed) else ''}"


def part_of(
    frames: Sequence[PrunedFrame], *, num_frames: int, rng: np.random.Generator
) -> tuple[tuple[PrunedFrame, ...], float]:
    """Choose so many shown frames in a row, as a context that begins with the first of them.

    Returns:
        The frames, and when the next one comes, or the last of them if there is none.
    """
    start = int(rng.integers(0, max(1, len(frames) - num_frames + 1)))
    first = frames[start]
    whole = replace(first, keep_mask=np.ones_like(first.keep_mask))
    part = (whole, *frames[start + 1 : start + num_frames])
    return part, frames[min(start + num_frames, len(frames) - 1)].pts_s


def stretch(rng: np.random.Generator, *, longest_frames: int = LONGEST_FRAMES) -> tuple[float, int]:
    """Choose where in a scene a context begins and how many frames long it grows."""
    start_s = float(rng.integers(0, int(LATEST_START_S) + 1))
    return start_s, int(rng.integers(SHORTEST_FRAMES, longest_frames + 1))
