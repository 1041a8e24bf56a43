"""Which models' weights a worker keeps."""

import pytest

from ip2p_batch.recipe import Recipe
from workers import editor_cache
from workers.editor_cache import has_room


@pytest.fixture
def load(monkeypatch, settings):
    monkeypatch.setattr(editor_cache, "_kept", {})
    return lambda model: editor_cache.kept_editor_for(
        Recipe(instruction="x", model=model), settings
    )


def test_models_of_jobs_that_take_turns_are_kept_where_memory_is_plenty(load, monkeypatch):
    monkeypatch.setattr(editor_cache, "has_room", lambda: True)
    first, second = load("identity"), load("identity:slow=1")
    assert load("identity") is first
    assert load("identity:slow=1") is second
    for number in range(2, 7):
        load(f"identity:slow={number}")
    assert len(editor_cache._kept) <= editor_cache._MOST


def test_elsewhere_there_is_one_model_at_a_time(load, monkeypatch):
    monkeypatch.setattr(editor_cache, "has_room", lambda: False)
    first = load("identity")
    load("identity:slow=1")
    assert len(editor_cache._kept) == 1
    assert load("identity") is not first


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
def test_memory_is_plenty_where_nearly_all_of_it_is_free(tmp_path, text, room):
    path = tmp_path / "meminfo"
    if text is not None:
        path.write_text(text)
    assert has_room(path) is room
