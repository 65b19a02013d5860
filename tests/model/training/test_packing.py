from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from model.errors import InputError
from model.kinds import wording
from model.training.loss import answer_rows, loss_of
from model.training.packing import IGNORED, pack, write
from model.training.sample import Exchange, Sample
from model.types import Question
from model.videollama3.patches import patchify
from model.videollama3.prompt import HEAD, NANO_2, frame_stamp, question_suffix
from tests.model.growing import logits_of
from tests.model.training.clips import ASK, clip, network, sample, tokenizer


def served_logits(one: Sample, exchange: Exchange) -> Tensor:
    """The logits of an exchange's answer after a sequence that grew frame by frame."""
    model, words = network(), tokenizer()
    parts = []
    for index, frame in enumerate(one.frames[: exchange.num_seen]):
        time_s = frame.pts_s - one.frames[0].pts_s
        stamp = frame_stamp(time_s, is_first=not index)
        parts.append(torch.tensor(words.encode(stamp if index else HEAD + stamp)))
        features = model.encode(patchify(frame.pixels), [(4, 6)])
        parts.append(features[torch.from_numpy(np.flatnonzero(frame.keep_mask))])
    if exchange.now_s is not None:  # the newest frame's stamp, and its first token as it was last
        stamp = frame_stamp(exchange.now_s - one.frames[0].pts_s, is_first=False)
        latest = [each for each in one.frames[: exchange.num_seen] if each.keep_mask.flat[0]][-1]
        parts += [
            torch.tensor(words.encode(stamp)),
            model.encode(patchify(latest.pixels), [(4, 6)])[:1],
        ]
    (question, answer) = exchange.turns[0]
    asked, said = words.encode(question_suffix(question)), words.encode(answer)
    parts.append(torch.tensor([*asked, *said]))
    return logits_of(model, *[part for part in parts if len(part)])[-len(said) - 1 :]


def still(one: Sample) -> Sample:
    """The same, asked half a minute after the last frame that changed anything."""
    later = (replace(each, now_s=each.num_seen + 33.0) for each in one.exchanges)
    return replace(one, exchanges=tuple(later))


@torch.no_grad()
def test_training_sees_what_service_sees() -> None:
    samples = [sample(4, moments=(1, 3, 4)), still(sample(5, seed=5, moments=(2, 5)))]
    batch = pack(samples, tokenizer(), max_tokens=4096, mode="full")
    hidden, labels, _ = answer_rows(network(), batch)
    got = network().language.logits(hidden)
    expected = torch.cat([served_logits(one, ex) for one in samples for ex in one.exchanges])
    torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-3)
    ids = [
        token
        for one in samples
        for ex in one.exchanges
        for token in [*tokenizer().encode(ex.turns[0][1]), tokenizer().im_end_id]
    ]
    assert labels.tolist() == ids


@torch.no_grad()
def test_a_sample_is_not_changed_by_its_company() -> None:
    one, other = sample(3, seed=1), sample(4, seed=2)
    alone = answer_rows(network(), pack([one], tokenizer(), max_tokens=4096))[0]
    together = answer_rows(network(), pack([other, one], tokenizer(), max_tokens=4096))[0]
    torch.testing.assert_close(together[-len(alone) :], alone, atol=1e-4, rtol=1e-3)


@pytest.mark.gpu
@torch.no_grad()
def test_a_gpu_finds_the_loss_that_a_cpu_finds() -> None:
    batch = pack([sample(3, seed=1), sample(4, seed=2)], tokenizer(), max_tokens=4096)
    there, here = (
        loss_of(model, *answer_rows(model, batch))
        for model in (deepcopy(network()).to("cuda"), network())
    )
    torch.testing.assert_close(there.cpu(), here, atol=1e-3, rtol=1e-3)


def test_the_options_of_a_choice_are_found_with_their_letters_before_them() -> None:
    colours = ("red", "blue", "dark green", "grey")
    question = Question("choice", "What colour is the car?", colours)
    words = wording(question, NANO_2.forms)
    exchange = Exchange(2, ((words, "C"),), now_s=9.0, num_options=4)
    one = Sample("video", clip(2), (exchange,))
    batch = pack([sample(3), one], tokenizer(), max_tokens=4096)
    [options] = batch.options
    said = [tokenizer().decode(batch.ids[row - 4 : row + 1].tolist()) for row in options.rows]
    assert options.right == 2
    for letter, colour, words in zip("ABCD", colours, said, strict=True):
        assert words.endswith(colour.split()[-1])
        assert letter in words
    assert tokenizer().decode([int(batch.ids[options.rows[-1] + 1])]) == "\n"


def test_only_answers_have_labels() -> None:
    written = write(sample(2, moments=(1,)), tokenizer())
    said = tokenizer().encode("yes")
    labels = written.labels[written.labels != IGNORED]
    assert labels.tolist() == [*said, tokenizer().im_end_id]
    assert written.weights[written.labels == IGNORED].sum() == 0


def test_a_second_turn_sees_the_first_and_is_labelled_too() -> None:
    turns = ((ASK, "yes"), ("What colour?", "red"))
    written = write(Sample("video", clip(1), (Exchange(1, turns),)), tokenizer())
    text = tokenizer().decode(written.labels[written.labels != IGNORED].tolist())
    assert text == "yesred"
    last = len(written.ids) - 1
    assert written.layout.sees()[last].all()


def test_positions_of_an_exchange_go_on_where_it_leaves_the_trunk() -> None:
    written = write(sample(3, moments=(1, 3)), tokenizer())
    restarts = np.flatnonzero(np.diff(written.positions) != 1) + 1
    assert len(restarts) >= 1
    for start in restarts:
        assert written.layout.sees()[start].sum() == written.positions[start] + 1


def test_images_and_text_are_written_without_time_stamps() -> None:
    image = Sample("images", clip(1), (Exchange(1, ((ASK, "no"),)),), merge_size=1)
    text = Sample("text", (), (Exchange(1, ((ASK, "no"),)),), script=("A red car stands.",))
    batch = pack([image, text], tokenizer(), max_tokens=512)
    assert "Time" not in tokenizer().decode(batch.ids.tolist())
    assert len(batch.visual) == 4 * image.frames[0].num_kept
    assert torch.isfinite(loss_of(network(), *answer_rows(network(), batch)))


def test_too_much_and_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="expected 1 to 10 tokens"):
        pack([sample(2)], tokenizer(), max_tokens=10)
    with pytest.raises(InputError, match="begins with a whole frame"):
        Sample("video", clip(2)[1:], (Exchange(1, ((ASK, "no"),)),))
    with pytest.raises(InputError, match="a question and its answer"):
        Sample("video", clip(2), ())
    with pytest.raises(InputError, match="exchanges within 2 frames"):
        Sample("video", clip(2), (Exchange(3, ((ASK, "no"),)),))
    with pytest.raises(InputError, match="what is now with frames alone"):
        Sample("text", (), (Exchange(0, ((ASK, "no"),), now_s=4.0),))
