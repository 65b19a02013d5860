"""How well a model chooses when to speak, on held-out scenes, beside captions at fixed times."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from model.evaluation.evaluate import Viewer
from model.scenes import Scene
from model.scenes.quiz import true_facts
from model.scenes.wording import Stated, stated_facts
from model.training.samples import worth_saying
from model.types import PrunedFrame, Question
from pipeline.caption_gate import CaptionGate
from worker.benchmarks.report import Row, at_least

NEAR_S = 2.0
TARGET = 0.9
PERIOD_S = 10.0
CAPTION = Question("caption", "")


class Speaker(Viewer, Protocol):
    """An engine that says after each frame whether something is worth saying."""

    def worth_saying(self, stream_id: str) -> float | None:
        """Return how likely."""
        ...


@dataclass(slots=True)
class Told:
    """What captions came to.

    Attributes:
        num_words: in them.
        num_told: facts that at least one of a clip's captions states truly.
    """

    num_words: int = 0
    num_told: int = 0

    def add(self, captions: Sequence[str], true: frozenset[Stated]) -> None:
        """Count a clip's captions."""
        self.num_words += sum(len(caption.split()) for caption in captions)
        stated = frozenset[Stated]().union(*map(stated_facts, captions))
        self.num_told += len(stated & true)


@dataclass(slots=True)
class Speaking:
    """Figures over clips; a clip's first frame, which is described whatever happens, is none.

    Attributes:
        num_spoken: times that the model spoke.
        num_right: of them within `NEAR_S` of a frame that had something new to state.
        num_worth: frames that had something new to state.
        num_met: of them those within `NEAR_S` of which the model spoke.
        hours: of clips.
        chosen: what was said when the model chose to.
        periodic: what is said every `PERIOD_S`.
    """

    num_spoken: int = 0
    num_right: int = 0
    num_worth: int = 0
    num_met: int = 0
    hours: float = 0.0
    chosen: Told = field(default_factory=Told)
    periodic: Told = field(default_factory=Told)

    def add(self, viewer: Speaker, scene: Scene, frames: Sequence[PrunedFrame]) -> None:
        """Show a clip: a caption where the model speaks, and one every `PERIOD_S` beside it."""
        stream_id, start_s = frames[0].stream_id, frames[0].pts_s
        gate = CaptionGate("model")
        spoken_s: list[float] = []
        captions: dict[str, list[str]] = {"chosen": [], "periodic": []}
        due_s = start_s
        viewer.remove(stream_id)
        for frame in frames:
            viewer.append([frame])
            worth = viewer.worth_saying(stream_id)
            ways = []
            if gate.is_open(is_due=False, num_tokens=frame.grid.num_tokens, worth=worth):
                spoken_s.append(frame.pts_s)
                ways.append("chosen")
            if frame.pts_s >= due_s:
                due_s += PERIOD_S
                ways.append("periodic")
            if ways:
                [answer] = viewer.ask([(stream_id, CAPTION)])
                for way in ways:
                    captions[way].append(str(answer.value))
        viewer.remove(stream_id)
        times_s = [frame.pts_s for frame in frames]
        news_s = [
            at_s
            for at_s, is_worth in zip(times_s, worth_saying(scene, times_s), strict=True)
            if is_worth
        ]
        self._count([at_s for at_s in spoken_s if at_s > start_s], news_s)
        true = frozenset[Stated]().union(
            *(true_facts(scene, at_s, start_s=start_s) for at_s in times_s)
        )
        self.chosen.add(captions["chosen"], true)
        self.periodic.add(captions["periodic"], true)
        self.hours += (times_s[-1] - start_s) / 3600

    def _count(self, spoken_s: Sequence[float], news_s: Sequence[float]) -> None:
        self.num_spoken += len(spoken_s)
        self.num_worth += len(news_s)
        self.num_right += sum(_is_near(at_s, news_s) for at_s in spoken_s)
        self.num_met += sum(_is_near(at_s, spoken_s) for at_s in news_s)

    def rows(self) -> list[Row]:
        """Give precision, recall, and words an hour beside captions at fixed times."""
        rows = [
            at_least(
                "speaking_precision",
                self.num_right / max(1, self.num_spoken),
                TARGET,
                terms={"right": self.num_right, "spoken": self.num_spoken},
            ),
            at_least(
                "speaking_recall",
                self.num_met / max(1, self.num_worth),
                TARGET,
                terms={"met": self.num_met, "worth": self.num_worth},
            ),
        ]
        for name, told in (("chosen", self.chosen), ("periodic", self.periodic)):
            words = told.num_words / self.hours if self.hours else 0.0
            terms = {"facts_told": told.num_told, "words": told.num_words}
            rows.append(Row(f"speaking_words_{name}", words, "words/h", terms=terms))
        return rows


def _is_near(at_s: float, others_s: Sequence[float]) -> bool:
    return any(abs(at_s - other_s) <= NEAR_S for other_s in others_s)
