"""Instructions as embeddings."""

from __future__ import annotations

from typing import Any

import torch


class Texts:
    """Embeds each text once.

    Attributes:
        warnings: a line for each text that was cut to the model's length.
    """

    def __init__(self, tokenizer: Any, encoder: Any, device: str) -> None:
        self.warnings: list[str] = []
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._device = device
        self._known: dict[str, torch.Tensor] = {}
        # Some folders lack the tokenizer's own limit, which then reads 1e30.
        self._limit = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)

    def embed(self, text: str, role: str) -> torch.Tensor:
        """Shape ``(1, tokens, width)``; ``role`` names the text in a warning."""
        if text not in self._known:
            tokens = self._tokenizer(
                text,
                padding="max_length",
                max_length=self._limit,
                truncation=True,
                return_tensors="pt",
            ).input_ids
            self._warn_if_cut(text, role)
            self._known[text] = self._encoder(tokens.to(self._device))[0]
        return self._known[text]

    def _warn_if_cut(self, text: str, role: str) -> None:
        tokens = self._tokenizer(text, truncation=False, verbose=False).input_ids
        if len(tokens) > self._limit:
            # The first and the last token are the model's own marks.
            lost = self._tokenizer.decode(tokens[self._limit - 1 : -1]).strip()
            self.warnings.append(
                f"The {role} is cut after {self._limit - 2} tokens;"
                f" the model does not see: {lost!r}."
            )
