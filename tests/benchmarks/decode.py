"""How near decoding comes to what the device's memory allows: `python -m tests.benchmarks decode`.

A step reads every weight of the decoder and the keys and values of every context, and computes
little with them: the least it can take is those bytes over the rate of a plain copy. Measured are
the captions of as many cameras as are asked together, after contexts as they are at a fifth of
changed tokens a second; the host's part of a step counts.
"""

import time
from statistics import median

import torch

from model.engine.decoding import Decoding
from model.engine.forks import Forks
from model.engine.kv_cache import KVSequence, PagePool
from model.kinds.base import Branch
from model.videollama3.config import PRESETS
from model.videollama3.network import VideoLlama3
from pipeline.ticks import ASKED_TOGETHER
from worker.benchmarks.random_weights import untrained
from worker.benchmarks.report import Progress, Row, at_least

MIN_SHARE = 0.5
CONTEXT_TOKENS = 5000
NUM_STEPS = 60
SUFFIX = tuple(range(100, 120))
COPIED_BYTES = 2**32


def measure(progress: Progress) -> list[Row]:
    """Measure steps of the published shapes, where there is CUDA."""
    names = {shape: f"decode_share_of_bandwidth_{shape}" for shape in ("2b", "7b")}
    if not torch.cuda.is_available():
        return [
            Row(name, None, "not measured: no CUDA device", MIN_SHARE) for name in names.values()
        ]
    device = torch.device("cuda")
    copy_rate = copied_bytes_per_s(device)
    rows = []
    for shape, name in names.items():
        progress(f"decoding, {shape} shape, bfloat16")
        network = untrained(PRESETS[shape], device=device, dtype=torch.bfloat16)
        rows.append(share_row(name, network, copy_rate=copy_rate))
    return rows


def share_row(
    name: str,
    network: VideoLlama3,
    *,
    copy_rate: float,
    num_captions: int = ASKED_TOGETHER,
    context_tokens: int = CONTEXT_TOKENS,
) -> Row:
    """Set the rate at which steps read beside that of a copy, in bytes a second."""
    pool = PagePool(network.config.text, dtype=network.dtype, device=network.device)
    contexts = [_context(pool, context_tokens) for _ in range(num_captions)]
    step_s = _step_s(network, pool, contexts)
    cached = num_captions * (context_tokens + len(SUFFIX) + NUM_STEPS // 2)
    num_bytes = read_weight_bytes(network) + cached * pool.page_bytes // pool.page_tokens
    terms = {
        "read_gb": num_bytes / 1e9,
        "step_ms": step_s * 1000,
        "copy_tb_per_s": copy_rate / 1e12,
        "captions": num_captions,
        "context_tokens": context_tokens,
    }
    return at_least(name, num_bytes / step_s / copy_rate, MIN_SHARE, terms=terms)


def read_weight_bytes(network: VideoLlama3) -> int:
    """Bytes of weights that a step reads: the decoder's, of the embedding a few rows."""
    language = network.language
    weights = sum(weight.nbytes for weight in language.parameters())
    return weights - (language.embed_tokens.weight.nbytes if language.lm_head else 0)


def copied_bytes_per_s(device: torch.device, *, num_bytes: int = COPIED_BYTES) -> float:
    """Time plain copies, bytes read and bytes written counted, median of ten."""
    source = torch.randint(256, (num_bytes,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    times_s = []
    for _ in range(13):
        _wait(device)
        begun_s = time.perf_counter()
        target.copy_(source)
        _wait(device)
        times_s.append(time.perf_counter() - begun_s)
    return 2 * num_bytes / median(times_s[3:])


def _context(pool: PagePool, num_tokens: int) -> KVSequence:
    """Make a context of keys and values that mean nothing."""
    sequence = KVSequence(pool)
    sequence.reserve(num_tokens)
    slots = sequence.slots(0, num_tokens).to(pool.device)
    for layer in range(pool.num_layers):
        keys, values = pool.read(layer, slots)
        pool.write(layer, slots, torch.randn_like(keys), torch.randn_like(values))
    sequence.advance(num_tokens)
    return sequence


def _step_s(network: VideoLlama3, pool: PagePool, contexts: list[KVSequence]) -> float:
    """Decode a caption after each, and time the steps once they are the same: their median."""
    branch = Branch(SUFFIX, max_new_tokens=NUM_STEPS, is_text=True)
    forks = Forks(network, pool, [(context, branch) for context in contexts])
    said = [int(logits[-1].argmax()) for logits in forks.prefill()]
    decoding = Decoding(network, pool, num_rows=len(contexts))
    decoding.join([(forks.beginning(n), token) for n, token in enumerate(said)])
    times_s = []
    for _ in range(NUM_STEPS // decoding.look_every - 1):
        begun_s = time.perf_counter()
        decoding.launch(decoding.look_every)
        decoding.collect()  # comes back when the device is done
        times_s.append((time.perf_counter() - begun_s) / decoding.look_every)
    return median(times_s[3:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
