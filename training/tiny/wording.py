"""Random variations of an instruction's wording."""

from __future__ import annotations

import random

from ip2p_batch.training.instructions import HELD_OUT, normalize

_PREFIXES = (
    "just", "i want you to", "could you", "let us", "let's", "i would like you to", "try to",
    "go ahead and", "would you", "you should",
)  # fmt: skip
_SUFFIXES = (
    "for me", "this time", "everywhere", "all of it", "completely", "a lot", "entirely",
    "if you can", "thanks", "in the video", "in the whole picture", "for the whole clip",
)  # fmt: skip
_NOUNS = ("photo", "picture", "image", "video", "frame", "scene", "clip", "shot", "movie", "film",
          "photograph")  # fmt: skip
_REPLACEABLE = frozenset(["it", "this", *_NOUNS])
#: Short words that are never dropped, because the meaning depends on them.
_NEVER_DROPPED = frozenset(
    ("no", "not", "do", "as", "is", "out", "off", "sea", "oil", "fog", "snow", "blur", "ink",
     "heat", "neon", "fall", "dark", "cold", "same", "keep")
)  # fmt: skip
_MAX_TRIES = 8


def vary_wording(text: str, rng: random.Random) -> str:
    """Add a prefix or suffix, replace nouns for the image, or drop a short word.

    A text encoder trained on a few hundred instructions would memorize them; the variations make
    it attend to the words that carry the meaning.

    Args:
        text: an instruction.
        rng: the source of randomness.

    Returns:
        The variation, never one of :data:`~ip2p_batch.training.instructions.HELD_OUT`; ``text``
        itself where no variation is allowed.
    """
    for _ in range(_MAX_TRIES):
        words = text.split()
        kind = rng.randrange(4)
        if kind == 0:
            words = [rng.choice(_PREFIXES), *words]
        elif kind == 1:
            words = [*words, rng.choice(_SUFFIXES)]
        elif kind == 2:
            words = [_replace_noun(word, rng) for word in words]
        elif len(words) > 3:
            droppable = [
                position
                for position, word in enumerate(words)
                if len(word) <= 4 and word not in _NEVER_DROPPED
            ]
            if droppable:
                del words[rng.choice(droppable)]
        variation = " ".join(words)
        if normalize(variation) not in HELD_OUT:
            return variation
    return text


def _replace_noun(word: str, rng: random.Random) -> str:
    if word not in _REPLACEABLE or rng.random() < 0.3:
        return word
    noun = rng.choice(_NOUNS)
    return f"the {noun}" if word in ("it", "this") else noun
