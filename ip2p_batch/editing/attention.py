"""Anchor attention: every frame attends to a few frames of its shot, for one consistent style.

In each self-attention layer the queries of a frame see its own keys and values and those of K
anchor frames, within one branch of guidance::

    softmax(Q [K_own, K_anchors]^T / sqrt(d)) [V_own, V_anchors]

Fairy (Wu et al., CVPR 2024, arXiv 2312.13834) brought this to an editor like InstructPix2Pix. Keys
and values of the anchors are computed again at each step, before those of the frames: for a model
of full size they take some hundred megabytes per step, and gigabytes for all steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch.nn.functional import scaled_dot_product_attention

Tensor = torch.Tensor


class AnchorKVCache:
    """Keys and values of the anchors at the current step, by layer, for one UNet.

    Outside of :meth:`write` and :meth:`read` every layer computes plain self-attention.
    """

    def __init__(self) -> None:
        self.branches = 1
        self._mode: Literal["off", "write", "read"] = "off"
        self._cache: dict[str, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def write(self, branches: int, *, append: bool = False) -> Iterator[None]:
        """Cache keys and values of the UNet calls in the block; these attend to one another.

        Args:
            branches: of guidance, in each call.
            append: keep what is cached, and attend to it, too. Its frames may have another number
                of tokens.
        """
        if not append:
            self._cache.clear()
        self.branches = branches
        yield from self._switch("write")

    @contextmanager
    def read(self) -> Iterator[None]:
        """Let the UNet calls in the block attend to what is cached, too."""
        yield from self._switch("read" if self._cache else "off")

    def clear(self) -> None:
        """Free the memory."""
        self._cache.clear()

    def extend(self, layer: str, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values that a layer attends to.

        Args:
            layer: its name in the UNet.
            key, value: shape ``(branches * frames, tokens, width)``, sorted by branch.

        Returns:
            Shape ``(branches * frames, (1 + K) * tokens, width)`` with K anchors.
        """
        if self._mode == "off":
            return key, value
        if self._mode == "write":
            own = (self._by_branch(key), self._by_branch(value))
            cached = self._cache.get(layer)
            if cached is not None:
                own = (torch.cat([cached[0], own[0]], 1), torch.cat([cached[1], own[1]], 1))
            self._cache[layer] = own
        frames = key.shape[0] // self.branches
        anchors = [cached.repeat_interleave(frames, dim=0) for cached in self._cache[layer]]
        return torch.cat([key, anchors[0]], dim=1), torch.cat([value, anchors[1]], dim=1)

    def _by_branch(self, tokens: Tensor) -> Tensor:
        """``(branches * K, tokens, width)`` as ``(branches, K * tokens, width)``."""
        return tokens.reshape(self.branches, -1, tokens.shape[-1])

    def _switch(self, mode: Literal["off", "write", "read"]) -> Iterator[None]:
        self._mode = mode
        try:
            yield
        finally:
            self._mode = "off"


class AnchorProcessor:
    """diffusers' attention processor for one self-attention layer.

    Without anchors it computes the same as diffusers' ``AttnProcessor2_0``.
    """

    def __init__(self, cache: AnchorKVCache, layer: str) -> None:
        self._cache = cache
        self._layer = layer

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **unused: Any,
    ) -> Tensor:
        if attn.fused_projections and encoder_hidden_states is None:
            query, key, value = attn.to_qkv(hidden_states).chunk(3, dim=-1)
        else:
            query = attn.to_q(hidden_states)
            attended = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            key, value = attn.to_k(attended), attn.to_v(attended)
        if encoder_hidden_states is None:
            key, value = self._cache.extend(self._layer, key, value)
        q, k, v = (_heads(x, attn.heads) for x in (query, key, value))
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=attention_mask)
        mixed = mixed.transpose(1, 2).flatten(2).to(query.dtype)
        result: Tensor = attn.to_out[1](attn.to_out[0](mixed))
        return result


def install(unet: Any, *, fused: bool = False) -> AnchorKVCache:
    """Give every self-attention layer of a UNet's transformer blocks an :class:`AnchorProcessor`.

    Args:
        unet: ``UNet2DConditionModel`` with blocks like SD 1.5's. ``set_attn_processor`` can
            replace the processors again at any time.
        fused: compute query, key and value as one matrix product: one launch instead of three on
            GPUs. On a CPU it gains nothing, and the weights are held twice.

    Returns:
        The cache that they share.
    """
    cache = AnchorKVCache()
    processors = dict(unet.attn_processors)
    for name in processors:
        if name.endswith("attn1.processor"):
            processors[name] = AnchorProcessor(cache, name.removesuffix(".processor"))
    unet.set_attn_processor(processors)
    if fused:
        for name, module in unet.named_modules():
            if name.endswith("attn1"):
                module.fuse_projections()
    return cache


def _heads(tokens: Tensor, count: int) -> Tensor:
    """``(samples, tokens, width)`` as ``(samples, heads, tokens, width / heads)``."""
    return tokens.view(tokens.shape[0], tokens.shape[1], count, -1).transpose(1, 2)
