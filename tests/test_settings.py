"""Settings from the environment: folders and numbers."""

from pathlib import Path

import pytest

from ip2p_batch.errors import RecipeError
from ip2p_batch.settings import Settings


def test_state_and_cache_follow_the_xdg_variables(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = Settings.from_env()
    assert settings.state == tmp_path / "state" / "ip2p-batch"
    assert settings.cache == tmp_path / "cache" / "ip2p-batch"


@pytest.mark.skipif("sys.platform != 'linux'", reason="the folders of Linux")
def test_without_xdg_variables_state_and_cache_are_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = Settings.from_env()
    assert settings.state == tmp_path / ".local" / "state" / "ip2p-batch"
    assert settings.cache == tmp_path / ".cache" / "ip2p-batch"
    assert not list(Path(tmp_path).iterdir())


NUMBERS = {
    "IP2P_TORCH_THREADS": ("torch_threads", 1, "4", 4, ["0", "-1", "1.5", "many", "٣"]),
    "IP2P_CPU_THREADS": ("cpu_threads", 1, "2", 2, ["0", "x"]),
    "IP2P_GPU_MEMORY_FRACTION": (
        "gpu_memory_fraction",
        1.0,
        "0.5",
        0.5,
        ["0", "1.1", "nan", "half"],
    ),
    "IP2P_HEARTBEAT_TIMEOUT": ("heartbeat_timeout", 15.0, "0.5", 0.5, ["0", "3601", "inf"]),
    "IP2P_VISIBILITY_TIMEOUT": ("visibility_timeout", None, "30", 30.0, ["1.9", "1e9", "soon"]),
    "IP2P_CHUNK_TIMEOUT": ("chunk_timeout", None, "7200", 7200.0, ["0", "90000", " "]),
}


@pytest.mark.parametrize("variable", NUMBERS)
def test_a_number_is_read_and_an_unset_one_has_its_default(variable):
    name, default, text, value, _ = NUMBERS[variable]
    assert getattr(Settings.from_env({}), name) == default
    assert getattr(Settings.from_env({variable: ""}), name) == default
    assert getattr(Settings.from_env({variable: text}), name) == value


@pytest.mark.parametrize(
    ("variable", "text"), [(name, text) for name in NUMBERS for text in NUMBERS[name][4]]
)
def test_a_wrong_number_is_refused_with_its_variable_its_range_and_the_fix(variable, text):
    with pytest.raises(RecipeError) as caught:
        Settings.from_env({variable: text})
    assert caught.value.message.startswith(f"{variable} is {text!r}, which is not a ")
    assert "Unset it" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "level"), [("", "WARNING"), ("DEBUG", "DEBUG"), ("info", "INFO"), ("Error", "ERROR")]
)
def test_the_log_level_is_read_in_any_case(text, level):
    assert Settings.from_env({"IP2P_LOG_LEVEL": text}).log_level == level


@pytest.mark.parametrize("text", ["loud", "10", "DEBUG "])
def test_an_unknown_log_level_is_refused_with_the_known_ones(text):
    with pytest.raises(RecipeError, match="DEBUG, INFO, WARNING, ERROR") as caught:
        Settings.from_env({"IP2P_LOG_LEVEL": text})
    assert "Unset it" in caught.value.hint


def test_blanks_around_a_number_are_ignored():
    assert Settings.from_env({"IP2P_HEARTBEAT_TIMEOUT": " 20 "}).heartbeat_timeout == 20.0


def test_a_user_without_a_home_folder_can_work_but_has_no_job_index(monkeypatch):
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def no_entry(_: int) -> None:
        raise KeyError("uid not found")

    monkeypatch.setattr("pwd.getpwuid", no_entry)
    settings = Settings.from_env()
    assert (settings.state, settings.cache) == (None, None)
    with pytest.raises(RecipeError, match="no home folder") as caught:
        settings.state_folder()
    assert "XDG_STATE_HOME" in caught.value.hint
