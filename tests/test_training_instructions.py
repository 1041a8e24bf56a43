"""Instructions for every reference edit, reproducible, without the held-out ones."""

import random
from collections import Counter

import pytest

from ip2p_batch.training.instructions import HELD_OUT, PHRASES, normalize, sample_instruction
from ip2p_batch.training.reference_edits import REFERENCE_EDITS


def test_every_reference_edit_has_phrases():
    assert list(PHRASES) == list(REFERENCE_EDITS)
    assert all(phrases.canonical and phrases.commands for phrases in PHRASES.values())
    assert all(len(phrases.held_out) >= 3 for phrases in PHRASES.values())


def test_the_same_seed_gives_the_same_instructions():
    def sample(seed):
        rng = random.Random(seed)
        return [sample_instruction(name, rng) for name in PHRASES for _ in range(5)]

    assert sample(1) == sample(1) != sample(2)


@pytest.mark.parametrize("name", PHRASES)
def test_held_out_instructions_are_never_sampled(name):
    rng = random.Random(0)
    seen = Counter(normalize(sample_instruction(name, rng)) for _ in range(4000))
    assert not seen.keys() & HELD_OUT
    assert len(seen) > 40


def test_no_instruction_belongs_to_two_edits():
    rng = random.Random(0)
    owner: dict[str, str] = {}
    for name in PHRASES:
        for _ in range(3000):
            text = normalize(sample_instruction(name, rng))
            assert owner.setdefault(text, name) == name, text
        for text in PHRASES[name].held_out:
            assert owner.setdefault(text, name) == name, text


def test_instructions_are_short_ascii_text():
    rng = random.Random(3)
    for name in PHRASES:
        for _ in range(200):
            text = sample_instruction(name, rng)
            assert 3 <= len(text) <= 77 and text == text.strip() and text.isascii()


def test_courtesies_go_before_verbs_only():
    rng = random.Random(5)
    texts = [sample_instruction(name, rng).lower() for name in PHRASES for _ in range(300)]
    polite = [text for text in texts if text.startswith(("please ", "can you ", "now "))]
    assert polite
    for text in polite:
        rest = text.removeprefix("please ").removeprefix("can you ").removeprefix("now ")
        assert rest.partition(" ")[0] not in {"a", "an", "as", "in", "it", "no", "more", "what"}
