"""The sentences: for every teacher, reproducible, and none of those kept for evaluation."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.training.grammar import GRAMMAR, HELD_OUT, instruction, normal, varied
from ip2p_batch.training.teachers import TEACHERS


def test_every_teacher_can_be_asked_for():
    assert list(GRAMMAR) == list(TEACHERS)
    assert all(phrases.canonical and phrases.commands for phrases in GRAMMAR.values())
    assert all(len(phrases.held_out) >= 3 for phrases in GRAMMAR.values())


def test_the_same_seed_gives_the_same_sentences():
    def told(seed):
        rng = random.Random(seed)
        return [instruction(name, rng) for name in GRAMMAR for _ in range(5)]

    assert told(1) == told(1) != told(2)


@pytest.mark.parametrize("name", GRAMMAR)
def test_no_sentence_of_the_evaluation_is_ever_trained_on(name):
    rng = random.Random(0)
    seen = Counter(normal(instruction(name, rng)) for _ in range(4000))
    assert not seen.keys() & HELD_OUT
    assert len(seen) > 40


def test_sentences_mean_one_edit_only():
    rng = random.Random(0)
    owner: dict[str, str] = {}
    for name in GRAMMAR:
        for _ in range(3000):
            text = normal(instruction(name, rng))
            assert owner.setdefault(text, name) == name, text
        for text in GRAMMAR[name].held_out:
            assert owner.setdefault(text, name) == name, text


def test_sentences_are_short_and_plain():
    rng = random.Random(3)
    for name in GRAMMAR:
        for _ in range(200):
            text = instruction(name, rng)
            assert 3 <= len(text) <= 77 and text == text.strip() and text.isascii()


def test_please_stands_before_verbs_only():
    rng = random.Random(5)
    told = [instruction(name, rng).lower() for name in GRAMMAR for _ in range(300)]
    polite = [text for text in told if text.startswith(("please ", "can you ", "now "))]
    assert polite
    for text in polite:
        rest = text.removeprefix("please ").removeprefix("can you ").removeprefix("now ")
        assert rest.partition(" ")[0] not in {"a", "an", "as", "in", "it", "no", "more", "what"}


@given(seed=st.integers(0, 10**6), edit=st.sampled_from(sorted(GRAMMAR)))
def test_a_varied_sentence_is_never_one_kept_for_evaluation_and_never_empty(seed, edit):
    rng = random.Random(seed)
    said = varied(instruction(edit, rng), rng)
    assert said.strip() and normal(said) not in HELD_OUT


def test_variety_makes_many_sentences_of_one_and_keeps_the_word_that_matters():
    said = {varied("turn this photo into a neon drawing", random.Random(n)) for n in range(200)}
    assert len(said) > 20 and all("neon" in text for text in said)
    assert all("no " in varied("no change at all", random.Random(n)) for n in range(50))
