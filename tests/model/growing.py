"""One sequence grown by hand, in passes of any size, to compare the packed passes with."""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.engine.cascade import CascadePrefill
from model.engine.forks import Forks
from model.engine.kv_cache import KVSequence, PagePool
from model.engine.prefixes import SharedPrefixes
from model.engine.rolling_context import Context
from model.kinds.base import Branch
from model.videollama3.network import VideoLlama3
from model.videollama3.prompt import HEAD, frame_stamp, question_suffix
from model.videollama3.tokenizer import Tokenizer


def new_pool(network: VideoLlama3, *, page_tokens: int = 8) -> PagePool:
    return PagePool(
        network.config.text, dtype=network.dtype, device=network.device, page_tokens=page_tokens
    )


def used_bytes(pool: PagePool) -> int:
    """Bytes of the pages that sequences hold."""
    return (pool._num_pages - len(pool._free)) * pool.page_bytes


def extend(network: VideoLlama3, pool: PagePool, sequence: KVSequence, embeds: Tensor) -> Tensor:
    """Append rows (L, D) in one pass; give their hidden rows (L, D)."""
    start, num_rows = sequence.length, len(embeds)
    sequence.reserve(num_rows)
    slots = sequence.slots(start, start + num_rows).to(pool.device)
    attend = CascadePrefill(
        SharedPrefixes(pool, [sequence], is_kept=False),
        [[num_rows]],
        backend=network.language.backend,
        store=lambda layer, keys, values: pool.write(layer, slots, keys, values),
    )
    hidden = network.language.forward(embeds, attend.positions, attend=attend)
    sequence.advance(num_rows)
    return hidden


def logits_of(network: VideoLlama3, *parts: Tensor) -> Tensor:
    """Score what follows every row, each part, ids (L,) or rows (L, D), in a pass of its own."""
    pool = new_pool(network)
    sequence = KVSequence(pool)
    hidden = [
        extend(
            network,
            pool,
            sequence,
            part if part.is_floating_point() else network.language.embed(part),
        )
        for part in parts
    ]
    return network.language.logits(torch.cat(hidden))


def logits_of_prompt(
    network: VideoLlama3,
    tokenizer: Tokenizer,
    frames: Sequence[tuple[float, Tensor]],
    text: str,
) -> Tensor:
    """The last logits, (V,), of one pass over a prompt of (pts_s, rows) written out in full."""

    def words(text: str) -> Tensor:
        return network.language.embed(torch.tensor(tokenizer.encode(text)))

    start_s = frames[0][0]
    parts = [words(HEAD)]
    for pts_s, rows in frames:
        parts += [words(frame_stamp(pts_s - start_s, is_first=len(parts) == 1)), rows]
    parts.append(words(question_suffix(text)))
    with torch.inference_mode():
        return logits_of(network, torch.cat(parts))[-1]


def logits_after(
    network: VideoLlama3, pool: PagePool, context: Context, ids: Sequence[int]
) -> Tensor:
    """The (V,) logits of what follows some words after a context."""
    [logits] = Forks(network, pool, [(context.sequence, Branch(tuple(ids)))]).prefill()
    return logits[-1]
