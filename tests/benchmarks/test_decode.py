import pytest
import torch

from model.bundled import NANO
from model.types import PatchGrid, Question
from model.videollama3.config import ModelConfig, TextConfig, VisionConfig
from model.videollama3.tokenizer import Tokenizer
from tests.benchmarks import decode
from tests.benchmarks.decode import read_weight_bytes, share_row
from worker.benchmarks import cameras
from worker.benchmarks.baselines import Transformers
from worker.benchmarks.random_weights import untrained
from worker.benchmarks.rendered_cameras import render

CPU = torch.device("cpu")
SHAPE = ModelConfig(
    vision=VisionConfig(hidden_size=64, intermediate_size=64, num_layers=2, num_heads=2),
    text=TextConfig(
        hidden_size=256,
        intermediate_size=512,
        num_layers=4,
        num_heads=4,
        num_kv_heads=2,
        head_dim=64,
        vocab_size=1024,
        has_tied_head=True,
    ),
    image_token_id=1022,
    video_token_id=1023,
    eos_token_ids=(1018,),
)


def test_captions_of_random_weights_run_to_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "PRESETS", {"tiny": SHAPE})
    monkeypatch.setattr(
        cameras,
        "untrained",
        lambda shape, **_: untrained(shape, device=CPU, dtype=torch.bfloat16),
    )
    engine = cameras.random_engine("tiny")
    clips = render(PatchGrid(4, 5), lambda _words: None)
    engine.append(cameras._window(clips, 3))
    [caption] = engine.ask([("camera", Question("caption", ""))])
    assert caption.num_generated == cameras.CAPTION_TOKENS


def test_a_step_is_set_beside_a_copy() -> None:
    network = untrained(SHAPE, device=CPU, dtype=torch.float32)
    row = share_row("share", network, copy_rate=1e9, num_captions=2, context_tokens=50)
    layers = sum(weight.nbytes for weight in network.language.layers.parameters())
    weights = read_weight_bytes(network)
    assert layers < weights < layers + 1.1 * 4 * 1024 * 256
    per_token = 2 * 4 * 4 * 2 * 64  # keys and values, float32, layers, heads, width of a head
    assert row.terms["read_gb"] * 1e9 == weights + 2 * (50 + 20 + 30) * per_token
    assert row.value == pytest.approx(
        row.terms["read_gb"] * 1e9 / (row.terms["step_ms"] / 1e3) / 1e9
    )


def test_what_needs_a_gpu_is_marked_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # with one it would measure
    rows = decode.measure(lambda _words: None)
    rows += cameras.measure(lambda _words: None, subject="2b", cameras=8)
    assert len(rows) == 3
    assert all(row.value is None and row.target for row in rows)


def test_a_copy_counts_bytes_read_and_written() -> None:
    rates = [decode.copied_bytes_per_s(CPU, num_bytes=2**n) for n in (20, 22)]
    assert all(1e8 < rate < 1e13 for rate in rates)


def test_requests_of_transformers_are_timed_and_summed_up() -> None:
    theirs = Transformers.random(SHAPE, Tokenizer.load(NANO), dtype=torch.float32)
    clips = render(PatchGrid(4, 5), lambda _words: None)
    row = cameras.requests_row("theirs", theirs, clips, window_s=3)
    assert row.value is not None
    a_second = row.terms["question_s"] + row.terms["caption_s"] / 10
    assert row.value == pytest.approx(1 / a_second)
