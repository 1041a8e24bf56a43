"""Encode instructions to embeddings."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

Tensor = torch.Tensor
#: Texts whose embeddings are cached: a manifest may have a text for each image.
_CACHE_SIZE = 256


class UNetTexts(NamedTuple):
    """The text arguments of one UNet call.

    Attributes:
        embeds: shape ``(samples, tokens, width)``.
        added: SDXL's further conditions; None for Stable Diffusion 1 and 2.
    """

    embeds: Tensor
    added: dict[str, Tensor] | None

    def first(self, samples: int) -> UNetTexts:
        """Those of the first samples."""
        added = self.added and {name: own[:samples] for name, own in self.added.items()}
        return UNetTexts(self.embeds[:samples], added)

    def options(self) -> dict[str, Any]:
        """The UNet's keyword arguments."""
        options: dict[str, Any] = {"encoder_hidden_states": self.embeds}
        if self.added is not None:
            options["added_cond_kwargs"] = self.added
        return options


@dataclass(frozen=True, slots=True, eq=False)
class TextEmbeds:
    """Encoded texts, one for each sample.

    Attributes:
        embeds: shape ``(samples, tokens, width)``.
        pooled: of SDXL's second text encoder, shape ``(samples, projection)``; None for Stable
            Diffusion 1 and 2.
    """

    embeds: Tensor
    pooled: Tensor | None = None

    @staticmethod
    def cat(parts: Sequence[TextEmbeds]) -> TextEmbeds:
        """The samples of all ``parts``, which come from one encoder."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        embeds = torch.cat([part.embeds for part in parts])
        return TextEmbeds(embeds, torch.cat(pooled) if pooled else None)

    def expand(self, samples: int) -> TextEmbeds:
        """One sample, repeated."""
        pooled = None if self.pooled is None else self.pooled.expand(samples, -1)
        return TextEmbeds(self.embeds.expand(samples, -1, -1), pooled)

    def at_size(self, height: int, width: int) -> UNetTexts:
        """The UNet's text arguments for images of this size in pixels.

        SDXL is conditioned on the size of the original image, on the top left corner of its crop,
        and on the size of the result (Podell et al., 2023, arXiv 2307.01952, section 2.2). As in
        diffusers' pipeline, nothing is cropped and both sizes are that of the edit.
        """
        if self.pooled is None:
            return UNetTexts(self.embeds, None)
        ids = self.embeds.new_tensor([[height, width, 0, 0, height, width]])
        time_ids = ids.expand(len(self.embeds), -1)
        return UNetTexts(self.embeds, {"text_embeds": self.pooled, "time_ids": time_ids})


class PromptEmbeds(NamedTuple):
    """An encoded text.

    Attributes:
        embeds: one sample.
        truncated: if the text was truncated to the model's length, words that say so and follow
            "The instruction"; else empty.
    """

    embeds: TextEmbeds
    truncated: str


def text_encoders(pipe: Any) -> list[Any]:
    """The text encoders of a pipeline: one, or SDXL's two."""
    second = getattr(pipe, "text_encoder_2", None)
    return [pipe.text_encoder] if second is None else [pipe.text_encoder, second]


class PromptEncoder:
    """Encodes texts and caches the last few hundred: all chunks of a job have the same texts.

    Stable Diffusion 1 and 2 take the last layer of their text encoder. SDXL takes the last layer
    but one of both encoders, side by side, and the pooled output of the second.

    Args:
        pipe: has one tokenizer and text encoder, or SDXL's two.
        device: where the text encoders are.
    """

    def __init__(self, pipe: Any, device: str) -> None:
        self._encoders = text_encoders(pipe)
        self._tokenizers = [pipe.tokenizer]
        if self._is_xl:
            self._tokenizers.append(pipe.tokenizer_2)
        self._device = device
        # Models that were trained with empty texts as zeros say so in their model_index.json.
        self._zeros_for_empty = self._is_xl and bool(pipe.config.force_zeros_for_empty_prompt)
        self._cache: OrderedDict[str, PromptEmbeds] = OrderedDict()
        # Some folders lack the tokenizer's own limit, which then reads 1e30.
        self._limit = min(
            *(tokenizer.model_max_length for tokenizer in self._tokenizers),
            *(encoder.config.max_position_embeddings for encoder in self._encoders),
        )

    @property
    def _is_xl(self) -> bool:
        return len(self._encoders) > 1

    def encode(self, text: str) -> PromptEmbeds:
        """Encode a text, padded or truncated to the model's length."""
        if text in self._cache:
            self._cache.move_to_end(text)
            return self._cache[text]
        with torch.inference_mode():
            embeds = self._encoded_xl(text) if self._is_xl else self._encoded(text)
        self._cache[text] = PromptEmbeds(embeds, self._truncation(text))
        if len(self._cache) > _CACHE_SIZE:
            self._cache.popitem(last=False)
        return self._cache[text]

    def encode_negative(self, text: str) -> PromptEmbeds:
        """Encode a negative prompt. For most SDXL models, an empty one is zeros."""
        encoded = self.encode(text)
        if text or not self._zeros_for_empty:
            return encoded
        embeds, pooled = encoded.embeds.embeds, encoded.embeds.pooled
        assert pooled is not None
        zeros = TextEmbeds(torch.zeros_like(embeds), torch.zeros_like(pooled))
        return PromptEmbeds(zeros, encoded.truncated)

    def _encoded(self, text: str) -> TextEmbeds:
        return TextEmbeds(self._encoders[0](self._tokens(self._tokenizers[0], text))[0])

    def _encoded_xl(self, text: str) -> TextEmbeds:
        outputs = [
            encoder(self._tokens(tokenizer, text), output_hidden_states=True)
            for tokenizer, encoder in zip(self._tokenizers, self._encoders, strict=True)
        ]
        embeds = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
        return TextEmbeds(embeds, outputs[-1].text_embeds)

    def _tokens(self, tokenizer: Any, text: str) -> Tensor:
        tokens: Tensor = tokenizer(
            text,
            padding="max_length",
            max_length=self._limit,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return tokens.to(self._device)

    def _truncation(self, text: str) -> str:
        # SDXL's tokenizers have one vocabulary.
        tokenizer = self._tokenizers[0]
        tokens = tokenizer(text, truncation=False, verbose=False).input_ids
        if len(tokens) <= self._limit:
            return ""
        # The first and the last token mark start and end.
        lost = tokenizer.decode(tokens[self._limit - 1 : -1]).strip()
        return f"is truncated after {self._limit - 2} tokens; the model does not see: {lost!r}."
