"""Which models stay loaded in a worker."""

import pytest

from ip2p_batch.recipe import Recipe
from workers.editor_cache import MAX_MODELS, EditorCache, memory_for_another_model


def recipe(model):
    return Recipe(instruction="x", model=model)


def test_models_of_jobs_that_take_turns_stay_loaded_where_there_is_memory(settings):
    editors = EditorCache(settings, has_room=lambda: True)
    first, second = editors.get(recipe("identity")), editors.get(recipe("identity:slow=1"))
    assert editors.get(recipe("identity")) is first
    assert editors.get(recipe("identity:slow=1")) is second
    for number in range(2, 2 + 2 * MAX_MODELS):
        editors.get(recipe(f"identity:slow={number}"))
        assert len(editors) <= MAX_MODELS


def test_without_memory_for_two_one_model_is_loaded_at_a_time(settings):
    editors = EditorCache(settings, has_room=lambda: False)
    first = editors.get(recipe("identity"))
    assert editors.get(recipe("identity")) is first
    editors.get(recipe("identity:slow=1"))
    assert len(editors) == 1
    assert editors.get(recipe("identity")) is not first


@pytest.mark.parametrize(
    ("text", "room"),
    [
        ("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  900 kB\n", True),
        ("MemTotal:  1000 kB\nMemFree: 999 kB\nMemAvailable:  500 kB\n", False),
        ("MemTotal:  1000 kB\n", False),
        ("nonsense\n", False),
        (None, False),
    ],
)
def test_another_model_fits_where_nearly_all_memory_is_free(tmp_path, text, room):
    path = tmp_path / "meminfo"
    if text is not None:
        path.write_text(text)
    assert memory_for_another_model(path) is room
