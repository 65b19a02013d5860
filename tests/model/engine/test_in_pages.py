"""The engine over pages where they lie: it says what it says over copies of them."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.engine.config import EngineConfig
from model.engine.engine import Engine
from model.engine.kv_cache import PagePool
from model.layers.attention import SDPA
from model.layers.backends import choose_backend
from model.layers.paged import PLAIN
from model.types import Answer, Question
from model.videollama3.network import VideoLlama3
from tests.model.in_a_process import interpreted
from tests.model.nano_model import nano, nano_engine, nano_family, picture, pruned, some_tokens

QUESTIONS = (
    Question("caption", ""),
    Question("yes_no", "Is there fire?"),
    Question("count", "How many cars are there?"),
    Question("choice", "What colour is the car?", ("red", "dark red", "blue")),
)


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The layers that were copied out of their pages."""
    layers: list[int] = []
    read = PagePool.read

    def noted(pool: PagePool, layer: int, slots: Tensor) -> tuple[Tensor, Tensor]:
        layers.append(layer)
        return read(pool, layer, slots)

    monkeypatch.setattr(PagePool, "read", noted)
    return layers


@pytest.fixture
def in_pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Attention to pages, the plain way."""
    with monkeypatch.context() as patch:
        patch.setattr(nano().language, "backend", replace(SDPA, paged=PLAIN))
        yield


def answers(engine: Engine) -> list[Answer]:
    """What an engine says of two cameras, after contexts have grown in several passes."""
    for second in range(6):
        frames = [
            pruned(
                picture(seed),
                pts_s=float(second),
                keep=some_tokens(seed * 10 + second),
                stream_id=camera,
                is_refresh=not second,
            )
            for seed, camera in enumerate(("gate", "yard")[: 1 + second % 2 if second else 2])
        ]
        engine.append(frames)
    return engine.ask([(camera, one) for camera in ("gate", "yard") for one in QUESTIONS])


def test_answers_are_those_over_copies_and_nothing_is_copied(
    copied: list[int], request: pytest.FixtureRequest
) -> None:
    expected = answers(nano_engine(window_s=8.0))
    assert copied
    copied.clear()
    request.getfixturevalue("in_pages")
    got = answers(nano_engine(window_s=8.0))
    assert not copied
    for one, other in zip(got, expected, strict=True):
        assert (one.value, one.num_generated) == (other.value, other.num_generated)
        assert (one.p is None) == (other.p is None)
        assert one.p == pytest.approx(other.p, abs=1e-4)


INTERPRET = """
from dataclasses import replace

import torch

from model.engine.decoding import Decoding
from model.engine.forks import Forks
from model.engine.kv_cache import KVSequence
from model.kinds.base import Branch
from model.layers import triton_paged
from model.layers.attention import SDPA
from model.layers.pages import PagedKernels
from model.videollama3.config import ModelConfig, TextConfig, VisionConfig
from model.videollama3.network import VideoLlama3
from tests.model.growing import extend, new_pool

torch.manual_seed(0)
text = TextConfig(
    hidden_size=96, intermediate_size=64, num_layers=2, num_heads=6, num_kv_heads=2, head_dim=16,
    vocab_size=64,
)
vision = VisionConfig(hidden_size=16, intermediate_size=16, num_layers=1, num_heads=1)
config = ModelConfig(vision, text, image_token_id=1, video_token_id=2, eos_token_ids=(3,))
network = VideoLlama3(config).eval().requires_grad_(requires_grad=False)

def found():
    pool = new_pool(network)
    one, other = KVSequence(pool), KVSequence(pool)
    with torch.inference_mode():
        for sequence, lengths in ((one, (5, 9)), (other, (70,))):
            for length in lengths:
                extend(network, pool, sequence, network.language.embed(torch.arange(length) % 64))
    branch = Branch((7, 11), max_new_tokens=3)
    branches = [(one, branch), (one, Branch((9,), children=(4, 5))), (other, branch)]
    forks = Forks(network, pool, branches)
    logits = forks.prefill()
    decoding = Decoding(network, pool, num_rows=3)  # of which one is free
    rows = decoding.join([(forks.beginning(0), 5), (forks.beginning(2), 8)])
    for _ in range(2):
        decoding.launch(1)
        logits.append(decoding.logits(rows))
    return logits

expected = found()
kernels = PagedKernels("interpreted", triton_paged.attend, triton_paged.step)
network.language.backend = replace(SDPA, paged=kernels)
for one, other in zip(found(), expected, strict=True):
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
"""


def test_passes_by_tritons_kernels_are_those_over_copies() -> None:
    interpreted(INTERPRET)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("is_fp8", [False, True])
def test_on_a_gpu_answers_are_those_over_copies(dtype: torch.dtype, *, is_fp8: bool) -> None:
    device = torch.device("cuda")
    backend = choose_backend(device, dtype)
    assert backend.paged
    told = []
    for one in (backend, replace(backend, paged=None)):
        network = VideoLlama3(nano().config, backend=one).to(device, dtype).eval()
        network.load_state_dict(nano().state_dict())
        family = replace(nano_family(), network=network)
        config = EngineConfig(window_s=8.0, max_caption_tokens=24, fp8_keys=is_fp8)
        told.append([a.value for a in answers(Engine(family, model_name="nano", config=config))])
    assert told[0] == told[1]
