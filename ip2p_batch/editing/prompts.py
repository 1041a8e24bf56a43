"""Encode instructions to embeddings."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import torch

#: Texts whose embeddings are cached: a manifest may have a text for each image.
_CACHE_SIZE = 256


class PromptEmbeds(NamedTuple):
    """An encoded text.

    Attributes:
        embeds: shape ``(1, tokens, width)``.
        truncated: if the text was truncated to the model's length, words that say so and follow
            "The instruction"; else empty.
    """

    embeds: torch.Tensor
    truncated: str


class PromptEncoder:
    """Encodes texts and caches the last few hundred: all chunks of a job have the same texts."""

    def __init__(self, tokenizer: Any, encoder: Any, device: str) -> None:
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._device = device
        self._cache: OrderedDict[str, PromptEmbeds] = OrderedDict()
        # Some folders lack the tokenizer's own limit, which then reads 1e30.
        self._limit = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)

    def encode(self, text: str) -> PromptEmbeds:
        """Encode a text, padded or truncated to the model's length."""
        if text in self._cache:
            self._cache.move_to_end(text)
            return self._cache[text]
        tokens = self._tokenizer(
            text,
            padding="max_length",
            max_length=self._limit,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        with torch.inference_mode():
            embeds = self._encoder(tokens.to(self._device))[0]
        self._cache[text] = PromptEmbeds(embeds, self._truncation(text))
        if len(self._cache) > _CACHE_SIZE:
            self._cache.popitem(last=False)
        return self._cache[text]

    def _truncation(self, text: str) -> str:
        tokens = self._tokenizer(text, truncation=False, verbose=False).input_ids
        if len(tokens) <= self._limit:
            return ""
        # The first and the last token mark start and end.
        lost = self._tokenizer.decode(tokens[self._limit - 1 : -1]).strip()
        return f"is truncated after {self._limit - 2} tokens; the model does not see: {lost!r}."
