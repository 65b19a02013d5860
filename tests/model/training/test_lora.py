import pytest
import torch

from model.errors import InputError
from model.training.lora import adapt, adapters, merge_adapters
from model.training.loss import answer_rows, loss_of
from model.training.packing import pack
from model.training.recompute import recompute_layers
from model.training.stages import NANO, PAPER, parameter_groups
from model.videollama3.network import VideoLlama3
from tests.model.training.clips import network, sample, small, tokenizer

BATCH = pack([sample(3), sample(2, seed=1)], tokenizer(), max_tokens=4096)


def loss(model: VideoLlama3) -> torch.Tensor:
    return loss_of(model, *answer_rows(model, BATCH))


def stepped(model: VideoLlama3, *, rate: float = 1e-2) -> None:
    groups = [{**group, "lr": rate} for group in parameter_groups(model, NANO[3])]
    optimizer = torch.optim.AdamW(groups)
    torch.autograd.backward(loss(model))
    optimizer.step()


@torch.no_grad()
def test_adapters_add_nothing_at_first_and_stay_in_the_matrices_when_merged() -> None:
    plain, model = small(), small()
    adapt(model, rank=4, seed=0)
    torch.testing.assert_close(loss(model), loss(plain), rtol=0, atol=0)
    with torch.enable_grad():
        stepped(model)
    learnt = loss(model)
    assert abs(learnt - loss(plain)) > 1e-3
    merge_adapters(model)
    assert not adapters(model)
    torch.testing.assert_close(loss(model), learnt, rtol=1e-4, atol=1e-5)
    assert [name for name, _ in model.named_parameters()] == [
        name for name, _ in plain.named_parameters()
    ]


def test_adapters_and_the_projector_learn_and_nothing_else() -> None:
    plain, model = small(), small()
    adapt(model, rank=2, seed=0)
    stepped(model)
    merge_adapters(model)
    before = dict(plain.named_parameters())
    moved = {
        name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])
    }
    in_layers = {name for name, weight in before.items() if weight.dim() == 2 and "layers." in name}
    assert moved == in_layers | {name for name in before if name.startswith("projector.")}


def test_rates_of_adapters_are_ten_times_the_papers() -> None:
    model = small()
    adapt(model, rank=2, seed=0)
    rates = {group["name"]: group["lr"] for group in parameter_groups(model, PAPER[3])}
    assert rates["vision.adapters"] == pytest.approx(2e-5)
    assert rates["language.adapters"] == pytest.approx(1e-4)
    assert rates["projector.layers"] == pytest.approx(1e-5)
    frozen = parameter_groups(model, PAPER[0])
    assert not any(matrix.requires_grad for matrix in adapters(model.language))
    assert {group["name"].split(".")[0] for group in frozen} == {"vision", "projector"}


@pytest.mark.parametrize("rank", [0, 193])
def test_a_rank_that_is_none_is_refused(rank: int) -> None:
    with pytest.raises(InputError, match=f"expected a rank from 1 to 192, got {rank}"):
        adapt(network(), rank=rank, seed=0)


def kept_by(model: VideoLlama3) -> tuple[torch.Tensor, int]:
    """Give a loss, and how many numbers its gradients keep until then."""
    sizes: list[int] = []

    def pack_(x: torch.Tensor) -> torch.Tensor:
        sizes.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack_, lambda x: x):
        return loss(model), sum(sizes)


def test_layers_computed_again_keep_less_and_have_the_same_gradients() -> None:
    plain, model = small(), small()
    recompute_layers(model)
    (expected, all_kept), (found, kept) = kept_by(plain), kept_by(model)
    assert kept < 0.5 * all_kept
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.autograd.backward(expected)
    torch.autograd.backward(found)
    ours = dict(model.named_parameters())
    for name, weight in plain.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(ours[name].grad, weight.grad, msg=name)
