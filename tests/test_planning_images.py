"""Checks of the images of a folder or a manifest, before anything is queued."""

from ip2p_batch.jobs.spec import Item
from ip2p_batch.planning.images import without_session
from ip2p_batch.recipe import Recipe


def test_an_image_with_more_steps_than_the_scheduler_has_is_named():
    recipe = Recipe(instruction="x", scheduler="lcm", num_inference_steps=4)
    items = [
        Item(source="/a.png", output="/o/a.png"),
        Item(source="/b.png", output="/o/b.png", num_inference_steps=60),
        Item(source="/c.png", output="/o/c.png", num_inference_steps=60, error="unreadable"),
    ]
    errors = [item.error for item in without_session(items, recipe)]
    assert errors == [
        None,
        "num_inference_steps is 60; the scheduler lcm takes at most 50.",
        "unreadable",
    ]
