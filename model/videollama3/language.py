"""The Qwen2.5 decoder.

The network does not know what a token attends to: the caller passes an `Attend`, as the engine's
`cascade` does for frames and questions after shared prefixes, and for decoding.
"""

from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name
from torch import Tensor, nn

from model.layers.attention import SDPA, Attend, Backend, Store
from model.layers.fused import FusedLinear, add_product, is_fused
from model.layers.rope import Rotation, rotate, text_rotation
from model.layers.small_kernels import PLAIN, SmallKernels
from model.videollama3.config import TextConfig


class _Attention(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        width, kv_width = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width)
        self.k_proj = nn.Linear(config.hidden_size, kv_width)
        self.v_proj = nn.Linear(config.hidden_size, kv_width)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=False)
        self.fused: FusedLinear | None = None
        self.kernels = PLAIN

    def fuse(self, kernels: SmallKernels) -> None:
        self.fused = FusedLinear((self.q_proj, self.k_proj, self.v_proj))
        self.kernels = kernels

    def forward(
        self,
        x: Tensor,
        rotation: Rotation,
        *,
        layer: int,
        attend: Attend,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Give the wanted rows' heads side by side, as `o_proj` takes them."""
        if wanted is None and self.fused and self.fused.is_usable():
            q, k, v = self._turned(self.fused(x), rotation)
        else:
            k, v = self.keys_values(x, rotation)
            if wanted is not None:
                x, rotation = x[wanted], (rotation[0][wanted], rotation[1][wanted])
            q = rotate(self.q_proj(x).unflatten(-1, (-1, self.head_dim)), rotation)
        return attend(layer, q, k, v).flatten(1)

    def keys_values(self, x: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor]:
        if self.fused and self.fused.is_usable():
            _, k, v = self._turned(self.fused(x, first=1), rotation)
            return k, v
        heads = (-1, self.head_dim)
        k = rotate(self.k_proj(x).unflatten(-1, heads), rotation)
        return k, self.v_proj(x).unflatten(-1, heads)

    def _turned(self, rows: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Rotate the queries, if any, and the keys of fused rows, in place, and part them."""
        heads = rows.view(len(rows), -1, self.head_dim)  # those of queries, keys, values
        num_kv = self.k_proj.out_features // self.head_dim
        self.kernels.rotate_(heads[:, :-num_kv], rotation)
        q, k, v = heads.tensor_split((-2 * num_kv, -num_kv), dim=1)
        return q, k, v


class _MLP(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.fused: FusedLinear | None = None
        self.kernels = PLAIN

    def fuse(self, kernels: SmallKernels) -> None:
        self.fused = FusedLinear((self.gate_proj, self.up_proj))
        self.kernels = kernels

    def forward(self, x: Tensor) -> Tensor:
        """Give what `down_proj` takes."""
        if self.fused and self.fused.is_usable():
            return self.kernels.silu_times(self.fused(x))
        out: Tensor = F.silu(self.gate_proj(x)) * self.up_proj(x)
        return out


class _Layer(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.self_attn = _Attention(config)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mlp = _MLP(config)

    def forward(
        self,
        x: Tensor,
        rotation: Rotation,
        *,
        layer: int,
        attend: Attend,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Run the layer; in place on rows of the pass's own where it is fused."""
        in_place = is_fused(self.self_attn.fused)
        found = self.self_attn(
            self.input_layernorm(x), rotation, layer=layer, attend=attend, wanted=wanted
        )
        x = x if wanted is None else x[wanted]
        x = add_product(x, found, self.self_attn.o_proj, in_place=in_place)
        found = self.mlp(self.post_attention_layernorm(x))
        return add_product(x, found, self.mlp.down_proj, in_place=in_place)

    def keys_values(self, x: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.self_attn.keys_values(self.input_layernorm(x), rotation)
        return found


class Decoder(nn.Module):
    """Pre-norm layers with grouped-query attention and a gated MLP."""

    def __init__(self, config: TextConfig, *, backend: Backend = SDPA) -> None:
        super().__init__()
        self.config = config
        self.backend = backend
        table = torch.empty(config.vocab_size, config.hidden_size)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, _weight=table)
        if not table.is_meta:  # whose random numbers import torch._dynamo: seconds for nothing
            self.embed_tokens.reset_parameters()
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.lm_head = (
            None
            if config.has_tied_head
            else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        )

    def fuse(self, kernels: SmallKernels) -> None:
        """Make passes without gradients of fewer and larger kernels; see `FusedLinear`."""
        for layer in cast("list[_Layer]", list(self.layers)):
            layer.self_attn.fuse(kernels)
            layer.mlp.fuse(kernels)

    def embed(self, ids: Tensor) -> Tensor:
        """Look up token ids (L,) int64: (L, hidden_size)."""
        out: Tensor = self.embed_tokens(ids)
        return out

    def forward(
        self, embeds: Tensor, positions: Tensor, *, attend: Attend, wanted: Tensor | None = None
    ) -> Tensor:
        """Decode any rows, each layer's attention left to `attend`.

        Args:
            embeds: (L, hidden_size).
            positions: (L,) integer, each row's place in its own sequence.
            attend: called once for each layer; with `wanted` the last layer's queries are those of
                the wanted rows alone.
            wanted: (n,) int64, the rows that are asked for; None for all. The last layer does no
                more than they need.

        Returns:
            (n, hidden_size), normalised, ready for `logits`; n is L without `wanted`.
        """
        x, rotation = self._below_last(embeds, positions, attend=attend)
        last = len(self.layers) - 1
        out: Tensor = self.norm(
            self.layers[last](x, rotation, layer=last, attend=attend, wanted=wanted)
        )
        return out

    def fill(self, embeds: Tensor, positions: Tensor, *, attend: Attend, store: Store) -> None:
        """Run rows for their keys and values alone; the last layer computes nothing else.

        Args:
            embeds: (L, hidden_size).
            positions: (L,) integer, each row's place in its own sequence.
            attend: called once for each layer but the last.
            store: called for the last layer.
        """
        x, rotation = self._below_last(embeds, positions, attend=attend)
        last = cast("_Layer", self.layers[-1])
        store(len(self.layers) - 1, *last.keys_values(x, rotation))

    def _below_last(
        self, embeds: Tensor, positions: Tensor, *, attend: Attend
    ) -> tuple[Tensor, Rotation]:
        """Run every layer but the last; give its rows and their rotation."""
        rotation = text_rotation(positions, self.config.head_dim, theta=self.config.rope_theta)
        x = embeds if torch.is_grad_enabled() else embeds.clone()  # layers may work in place
        for index, layer in enumerate(self.layers[:-1]):
            x = layer(x, rotation, layer=index, attend=attend)
        return x, rotation

    def logits(self, hidden: Tensor) -> Tensor:
        """Score every token: (..., hidden_size) to (..., vocab_size) float32."""
        head = self.embed_tokens if self.lm_head is None else self.lm_head
        return F.linear(hidden, head.weight).float()
