"""Anchor attention: every frame looks at the same few frames of its shot, so all get one look.

In each self-attention layer a frame's queries see its own keys and values and those of K anchor
frames, within one branch of guidance::

    softmax(Q [K_own, K_anchors]^T / sqrt(d)) [V_own, V_anchors]

Fairy (Wu et al., CVPR 2024, arXiv 2312.13834) brought this to an editor of InstructPix2Pix's kind.
Anchors are recomputed beside the frames, step by step: their keys and values at one step are some
hundred megabytes for a model of full size, those of all steps gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch.nn.functional import scaled_dot_product_attention

Tensor = torch.Tensor


class AnchorMemory:
    """Keys and values of the anchors at the present step, by layer, for one UNet.

    Outside of :meth:`recording` and :meth:`joined` every layer works as it always did.
    """

    def __init__(self) -> None:
        self.branches = 1
        self._mode: Literal["off", "record", "join"] = "off"
        self._kept: dict[str, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def recording(self, branches: int, *, more: bool = False) -> Iterator[None]:
        """Calls of the UNet in here are of anchors: they see one another and are remembered.

        Args:
            more: keep those of the last recording and let these see them, too. They may have
                another number of tokens each.
        """
        if not more:
            self._kept.clear()
        self.branches = branches
        yield from self._in("record")

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Calls of the UNet in here see the anchors of the last recording, too."""
        yield from self._in("join" if self._kept else "off")

    def forget(self) -> None:
        """Free what is remembered."""
        self._kept.clear()

    def extend(self, layer: str, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """What a layer attends to.

        Args:
            layer: its name in the UNet.
            key, value: shape ``(branches * frames, tokens, width)``, sorted by branch.

        Returns:
            Shape ``(branches * frames, (1 + K) * tokens, width)`` where anchors are seen.
        """
        if self._mode == "off":
            return key, value
        if self._mode == "record":
            mine = (self._by_branch(key), self._by_branch(value))
            known = self._kept.get(layer)
            if known is not None:
                mine = (torch.cat([known[0], mine[0]], 1), torch.cat([known[1], mine[1]], 1))
            self._kept[layer] = mine
        anchors = self._kept[layer]
        frames = key.shape[0] // self.branches
        wide = [kept.repeat_interleave(frames, dim=0) for kept in anchors]
        return torch.cat([key, wide[0]], dim=1), torch.cat([value, wide[1]], dim=1)

    def _by_branch(self, tokens: Tensor) -> Tensor:
        """``(branches * K, tokens, width)`` as ``(branches, K * tokens, width)``."""
        return tokens.reshape(self.branches, -1, tokens.shape[-1])

    def _in(self, mode: Literal["off", "record", "join"]) -> Iterator[None]:
        self._mode = mode
        try:
            yield
        finally:
            self._mode = "off"


class AnchorProcessor:
    """diffusers' attention processor for one self-attention layer.

    With no anchors to see it computes what diffusers' ``AttnProcessor2_0`` computes.
    """

    def __init__(self, memory: AnchorMemory, layer: str) -> None:
        self._memory = memory
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
            seen = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            key, value = attn.to_k(seen), attn.to_v(seen)
        if encoder_hidden_states is None:
            key, value = self._memory.extend(self._layer, key, value)
        q, k, v = (_heads(x, attn.heads) for x in (query, key, value))
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=attention_mask)
        mixed = mixed.transpose(1, 2).flatten(2).to(query.dtype)
        result: Tensor = attn.to_out[1](attn.to_out[0](mixed))
        return result


def install(unet: Any, *, fused: bool = False) -> AnchorMemory:
    """Give every self-attention layer of a UNet's transformer blocks a processor of ours.

    Args:
        unet: ``UNet2DConditionModel`` of SD 1.5's kind of blocks. No module is patched:
            ``set_attn_processor`` takes the processors back at any time.
        fused: compute query, key and value as one matrix product. One launch in place of three
            is for GPUs; on a CPU it gains nothing, and the weights are held twice.

    Returns:
        Their common memory.
    """
    memory = AnchorMemory()
    processors = dict(unet.attn_processors)
    for name in processors:
        if name.endswith("attn1.processor"):
            processors[name] = AnchorProcessor(memory, name.removesuffix(".processor"))
    unet.set_attn_processor(processors)
    if fused:
        for name, module in unet.named_modules():
            if name.endswith("attn1"):
                module.fuse_projections()
    return memory


def _heads(tokens: Tensor, count: int) -> Tensor:
    """``(samples, tokens, width)`` as ``(samples, heads, tokens, width / heads)``."""
    return tokens.view(tokens.shape[0], tokens.shape[1], count, -1).transpose(1, 2)
