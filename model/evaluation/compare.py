"""One clip through the encoder in several ways: what leaving patches out costs in answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.engine.config import VisionMode
from model.evaluation.evaluate import Moment, served
from model.evaluation.scores import Judged
from model.kinds import kind_of, wording
from model.kinds.base import Forms
from model.kinds.count import digit_ids
from model.kinds.yes_no import yes_no_ids
from model.patch_diff import paper_mask
from model.scenes.quiz import Quiz
from model.training.loss import answer_rows
from model.training.packing import pack
from model.training.sample import Exchange, Sample
from model.types import PrunedFrame
from model.videollama3.network import VideoLlama3
from model.videollama3.tokenizer import Tokenizer

COMPARED = ("yes_no", "choice", "count")
MAX_TOKENS = 65_536


@dataclass(frozen=True, slots=True)
class Way:
    """A way of pruning and encoding.

    Attributes:
        name: in snake case.
        mode: how the encoder sees a clip.
        is_paper: tokens are kept by the paper's rule, not by the camera's pruner.
    """

    name: str
    mode: VisionMode
    is_paper: bool = False


WAYS = (
    Way("full_paper", "full", is_paper=True),
    Way("full_adaptive", "full"),
    Way("delta_adaptive", "delta"),
    Way("isolated_adaptive", "isolated"),
)


def paper_frames(
    frames: Sequence[PrunedFrame], pictures: Sequence[tuple[NDArray[np.uint8], float]]
) -> tuple[PrunedFrame, ...]:
    """Keep of a clip what the paper's rule keeps: all of its pictures, each against the last.

    Args:
        frames: the clip as a camera's pruner left it.
        pictures: (H, W, 3) uint8 with their times, those before the clip begins included.
    """
    first = frames[0]
    shown = [(pixels, pts_s) for pixels, pts_s in pictures if pts_s >= first.pts_s]
    previous = [None, *(pixels for pixels, _ in shown)]
    return tuple(
        replace(first, pixels=pixels, keep_mask=paper_mask(pixels, before), pts_s=pts_s)
        for (pixels, pts_s), before in zip(shown, previous, strict=False)
    )


@torch.inference_mode()
def judge(
    model: VideoLlama3,
    tokenizer: Tokenizer,
    frames: Sequence[PrunedFrame],
    moments: Sequence[Moment],
    *,
    mode: VisionMode,
    forms: Forms,
) -> list[Judged]:
    """Answer a clip's questions of the tasks in `COMPARED` in one packed pass, as in training.

    Yes and no are weighed, and counts read, at the first token of the answer (a count below 10 is
    one digit); every option of a choice, or its letter, is scored to its end.
    """
    asked: list[tuple[Quiz, range]] = []
    exchanges: list[Exchange] = []
    for moment in moments:
        num_seen = sum(frame.pts_s <= moment.t_s for frame in frames)
        for quiz in (quiz for quiz in moment.quizzes if quiz.task in COMPARED):
            question = served(quiz)
            answers = quiz.options if quiz.task == "choice" else (quiz.answer,)
            said = [kind_of(question.kind).taught(question, one, forms) for one in answers]
            asked.append((quiz, range(len(exchanges), len(exchanges) + len(answers))))
            words = wording(question, forms)
            exchanges += [Exchange(num_seen, ((words, answer),)) for answer in said]
    if not asked:
        return []
    sample = Sample("video", tuple(frames), tuple(exchanges))
    batch = pack([sample], tokenizer, max_tokens=MAX_TOKENS, mode=mode)
    hidden, labels, _ = answer_rows(model, batch)
    rows = model.language.logits(hidden).log_softmax(-1)
    lengths = [len(tokenizer.encode(exchange.turns[0][1])) + 1 for exchange in exchanges]
    pieces = list(zip(torch.split(rows, lengths), torch.split(labels, lengths), strict=True))
    return [
        Judged(quiz.task, quiz.topic, quiz.answer, _said(quiz, [pieces[i] for i in own], tokenizer))
        for quiz, own in asked
    ]


def _said(quiz: Quiz, pieces: Sequence[tuple[Tensor, Tensor]], tokenizer: Tokenizer) -> str:
    """Read an answer off its exchanges: (n, vocabulary) log shares and (n,) labels each."""
    first = pieces[0][0][0]
    match quiz.task:
        case "yes_no":
            yes, no = yes_no_ids(tokenizer)
            return "yes" if first[yes].logsumexp(0) >= first[no].logsumexp(0) else "no"
        case "count":
            return str(int(first[digit_ids(tokenizer)].argmax()))
        case _:
            scores = [float(rows.gather(1, labels[:, None]).sum()) for rows, labels in pieces]
            return quiz.options[int(np.argmax(scores))]
