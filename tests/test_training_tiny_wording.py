"""Variations of an instruction's wording keep its meaning."""

import random

from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.training.instructions import HELD_OUT, PHRASES, normalize, sample_instruction
from training.tiny.wording import vary_wording


@given(seed=st.integers(0, 10**6), edit=st.sampled_from(sorted(PHRASES)))
def test_a_variation_is_never_held_out_and_never_empty(seed, edit):
    rng = random.Random(seed)
    variation = vary_wording(sample_instruction(edit, rng), rng)
    assert variation.strip() and normalize(variation) not in HELD_OUT


def test_one_instruction_has_many_variations_that_keep_the_important_word():
    variations = {
        vary_wording("turn this photo into a neon drawing", random.Random(n)) for n in range(200)
    }
    assert len(variations) > 20 and all("neon" in text for text in variations)
    assert all("no " in vary_wording("no change at all", random.Random(n)) for n in range(50))
