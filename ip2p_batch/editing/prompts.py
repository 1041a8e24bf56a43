"""Instructions as embeddings."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import torch

#: Embeddings kept: a manifest may have a text for each picture.
_MOST = 256


class Embedded(NamedTuple):
    """A text as the model sees it.

    Attributes:
        states: shape ``(1, tokens, width)``.
        cut: what of it is said of a text that was cut to the model's length, in words that follow
            "The instruction"; empty where nothing was.
    """

    states: torch.Tensor
    cut: str


class Texts:
    """Embeds texts, and keeps the last some hundred of them: chunks of a job have the same."""

    def __init__(self, tokenizer: Any, encoder: Any, device: str) -> None:
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._device = device
        self._known: OrderedDict[str, Embedded] = OrderedDict()
        # Some folders lack the tokenizer's own limit, which then reads 1e30.
        self._limit = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)

    def embed(self, text: str) -> Embedded:
        if text in self._known:
            self._known.move_to_end(text)
            return self._known[text]
        tokens = self._tokenizer(
            text,
            padding="max_length",
            max_length=self._limit,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        with torch.inference_mode():
            states = self._encoder(tokens.to(self._device))[0]
        self._known[text] = Embedded(states, self._cut(text))
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return self._known[text]

    def _cut(self, text: str) -> str:
        tokens = self._tokenizer(text, truncation=False, verbose=False).input_ids
        if len(tokens) <= self._limit:
            return ""
        # The first and the last token are the model's own marks.
        lost = self._tokenizer.decode(tokens[self._limit - 1 : -1]).strip()
        return f"is cut after {self._limit - 2} tokens; the model does not see: {lost!r}."
