"""Allowed models, and model folders that try to run code or to read files elsewhere."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

from ip2p_batch import scheduler
from ip2p_batch.errors import ModelError, OutsideRoots
from ip2p_batch.models import catalog
from ip2p_batch.recipe import Recipe
from ip2p_batch.settings import Settings
from workers.editor_cache import editor_for

from .checkpoints import save_header
from .jobs import image_job

TINY = catalog.BUNDLED["tiny"]
LIST = ("tiny", "timbrooks/instruct-pix2pix", "owner/pinned@abc123")


@pytest.mark.parametrize(
    ("model", "revision"),
    [
        ("tiny", None), ("timbrooks/instruct-pix2pix", None),
        ("timbrooks/instruct-pix2pix", "main"), ("owner/pinned", "abc123"),
    ],
)  # fmt: skip
def test_models_on_the_list_are_allowed(model, revision):
    catalog.check_allowed(model, revision, LIST)


@pytest.mark.parametrize(
    ("model", "revision"),
    [
        ("timbrooks/instruct-pix2pix2", None), ("Timbrooks/instruct-pix2pix", None), ("", None),
        ("owner/pinned", None), ("owner/pinned", "main"), ("identity", None), ("/etc", None),
        ("tiny/../tiny", None), (str(TINY), None), ("./tiny", None), ("timbrooks", None),
    ],
)  # fmt: skip
def test_other_models_are_refused_by_name(model, revision):
    with pytest.raises(ModelError, match="IP2P_ALLOWED_MODELS") as error:
        catalog.check_allowed(model, revision, LIST)
    assert "timbrooks/instruct-pix2pix" in error.value.hint


def test_without_a_list_any_model_is_allowed():
    assert Settings.from_env({}).allowed_models is None
    catalog.check_allowed("anything/at-all", None, None)
    listed = Settings.from_env({"IP2P_ALLOWED_MODELS": " tiny, owner/name ,"}).allowed_models
    assert listed == ("tiny", "owner/name")


def test_a_folder_on_the_list_allows_models_in_it_but_no_link_out_of_it(tmp_path, monkeypatch):
    for name in ("models/a", "elsewhere", "timbrooks/instruct-pix2pix"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "models" / "link").symlink_to(tmp_path / "elsewhere")
    allowed = (*LIST, str(tmp_path / "models"))
    catalog.check_allowed(str(tmp_path / "models" / "a"), None, allowed)
    monkeypatch.chdir(tmp_path)
    # A local folder with the name of an allowed hub id is not allowed.
    for wrong in ("models/link", "models/../elsewhere", "timbrooks/instruct-pix2pix"):
        with pytest.raises(ModelError, match="IP2P_ALLOWED_MODELS"):
            catalog.check_allowed(wrong, None, allowed)


def test_a_file_on_the_list_is_allowed_and_no_other(tmp_path):
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).touch()
    allowed = (*LIST, str(tmp_path / "a.safetensors"))
    catalog.check_allowed(str(tmp_path / "a.safetensors"), None, allowed)
    catalog.check_allowed(str(tmp_path / "b.safetensors"), None, (str(tmp_path),))
    for wrong in (tmp_path / "b.safetensors", tmp_path / "a.safetensors" / ".." / "b.safetensors"):
        with pytest.raises(ModelError, match="IP2P_ALLOWED_MODELS"):
            catalog.check_allowed(str(wrong), None, allowed)


def test_a_forbidden_model_is_refused_before_planning(tmp_path, monkeypatch):
    picture = image_job(tmp_path, 1).job().source.path
    monkeypatch.setenv("IP2P_ALLOWED_MODELS", "tiny")
    recipe = Recipe(instruction="x", model="owner/other")
    request = scheduler.EditRequest(source=Path(picture), recipe=recipe, output=tmp_path / "o")
    with pytest.raises(ModelError, match="IP2P_ALLOWED_MODELS"):
        scheduler.create_job(request, Settings.from_env())
    assert not (tmp_path / "o").exists()


def test_a_job_for_remote_workers_is_limited_to_the_allowed_roots(tmp_path):
    picture = image_job(tmp_path / "out", 1).job().source.path
    (tmp_path / "root").mkdir()
    request = scheduler.EditRequest(
        source=Path(picture),
        recipe=Recipe(instruction="x", model="identity"),
        output=tmp_path / "o",
    )
    env = {"IP2P_ALLOWED_ROOTS": str(tmp_path / "root")}
    scheduler.create_job(request, Settings.from_env(env))  # local workers are not limited
    with pytest.raises(OutsideRoots, match="IP2P_ALLOWED_ROOTS"):
        scheduler.create_job(
            request, Settings.from_env({**env, "IP2P_BROKER_URL": "redis://host/0"})
        )


# -- hostile model folders ------------------------------------------------------------------


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.fixture
def folder(tmp_path):
    """A copy of the bundled model, for a test to change."""
    return Path(shutil.copytree(TINY, tmp_path / "model"))


def load(folder, **env):
    settings = Settings.from_env({"IP2P_DEVICE": "cpu", **env})
    return editor_for(Recipe(instruction="x", model=str(folder)), settings)


def index(folder, **changes):
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def trap(path, bomb):
    path.write_text(f"import os\nos.mkdir({str(bomb)!r})\nclass Trap: pass\n")


def test_an_unchanged_folder_loads(folder, tmp_path):
    assert load(folder, IP2P_ALLOWED_ROOTS=str(tmp_path)).device.startswith("cpu")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_pickled_weights_are_not_read(folder, tmp_path, part):
    (weights,) = (folder / part).glob("*.safetensors")
    pickled = {
        "diffusion_pytorch_model": "diffusion_pytorch_model.bin",
        "model": "pytorch_model.bin",
    }
    weights.with_name(pickled[weights.stem]).write_bytes(pickle.dumps(Bomb(tmp_path / "bomb")))
    weights.unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(folder)
    assert not (tmp_path / "bomb").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"_class_name": ["trap", "Trap"]}, {"unet": ["trap", "Trap"]}, {"unet": ["os", "system"]},
        {"scheduler": ["trap", "Trap"]}, {"tokenizer": ["ip2p_batch.storage.atomic", "digest"]},
        {"extra": ["trap", "Trap"]}, {"unet": [["trap"], "Trap"]}, {"unet": [{}, None]},
    ],
)  # fmt: skip
def test_code_in_a_model_folder_is_not_run(folder, tmp_path, monkeypatch, changes):
    for place in (folder, folder / "unet", folder / "scheduler", tmp_path):
        trap(place / "trap.py", tmp_path / "bomb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    index(folder, **changes)
    with pytest.raises(ModelError):
        load(folder)
    assert not (tmp_path / "bomb").exists()


@pytest.mark.parametrize("part", ["unet", "text_encoder", "tokenizer"])
def test_a_configuration_that_points_to_code_is_ignored(folder, tmp_path, part):
    name = "tokenizer_config.json" if part == "tokenizer" else "config.json"
    trap(folder / part / "trap.py", tmp_path / "bomb")
    path = folder / part / name
    auto = {
        "AutoModel": "trap.Trap",
        "AutoConfig": "trap.Trap",
        "AutoTokenizer": ["trap.Trap", None],
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": auto}))
    assert load(folder).device.startswith("cpu")
    assert not (tmp_path / "bomb").exists()


def test_an_adapter_that_names_another_model_is_an_error(folder):
    (folder / "text_encoder" / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "owner/other", "peft_type": "LORA"})
    )
    with pytest.raises(ModelError, match="adapter"):
        load(folder)


def shard(folder, part, name=None):
    """Give a component a weight index, as large models have; ``name`` replaces its file name."""
    (weights,) = (folder / part).glob("*.safetensors")
    moved = weights.rename(weights.with_name(f"{weights.stem}-00001-of-00001.safetensors"))
    with safe_open(moved, framework="pt") as file:
        names = dict.fromkeys(file.keys(), moved.name if name is None else name)
    path = folder / part / f"{weights.name}.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": names}))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_sharded_weights_are_loaded_only_from_their_own_folder(folder, tmp_path, part):
    shard(folder, part)
    assert (
        load(folder, IP2P_ALLOWED_ROOTS=str(tmp_path)).compute_profile == load(TINY).compute_profile
    )
    (index,) = (folder / part).glob("*.index.json")
    original = index.read_text()
    other = shutil.copy(next((folder / part).glob("*.safetensors")), tmp_path / "w.safetensors")
    for wrong in (
        "../../w.safetensors", str(other), "x/../../../w.safetensors", "..\\\\w.safetensors",
        "w.bin", "a\\u0000.safetensors", "",
    ):  # fmt: skip
        index.write_text(original.replace(next((folder / part).glob("*.safetensors")).name, wrong))
        with pytest.raises(ModelError, match="for its weights") as error:
            load(folder)
        assert "\n" not in error.value.message and "\0" not in error.value.message


@pytest.mark.parametrize(
    "text", ["[]", "7", "}{", "{}", '{"weight_map": 7}', '{"weight_map": {"a": 7}}']
)
def test_an_invalid_weight_index_is_an_error_of_one_line(folder, text):
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelError) as error:
        load(folder)
    assert "\n" not in error.value.message


@pytest.mark.parametrize("text", ["[]", "7", "}{", "null", '{"_class_name": 7}', ""])
def test_an_invalid_model_index_is_an_error_of_one_line(folder, text):
    (folder / "model_index.json").write_text(text)
    with pytest.raises(ModelError) as error:
        load(folder)
    assert "\n" not in error.value.message


def test_a_model_folder_outside_the_roots_is_refused(folder, tmp_path):
    (tmp_path / "root").mkdir()
    with pytest.raises(OutsideRoots, match="IP2P_ALLOWED_ROOTS"):
        load(folder, IP2P_ALLOWED_ROOTS=str(tmp_path / "root"))
    inside = shutil.copytree(folder, tmp_path / "root" / "model")
    (weights,) = (inside / "unet").glob("*.safetensors")
    weights.unlink()
    weights.symlink_to(next((folder / "unet").glob("*.safetensors")))
    with pytest.raises(OutsideRoots, match="safetensors"):
        load(inside, IP2P_ALLOWED_ROOTS=str(tmp_path / "root"))


def test_a_checkpoint_outside_the_roots_is_refused(tmp_path):
    (tmp_path / "root").mkdir()
    path = save_header(tmp_path / "m.safetensors", {"anything": (1,)})
    (tmp_path / "root" / "link.safetensors").symlink_to(path)
    for place in (path, tmp_path / "root" / "link.safetensors"):
        with pytest.raises(OutsideRoots, match="IP2P_ALLOWED_ROOTS"):
            load(place, IP2P_ALLOWED_ROOTS=str(tmp_path / "root"))
    # Inside, the worker checks its kind again.
    with pytest.raises(ModelError, match="unknown kind"):
        load(path, IP2P_ALLOWED_ROOTS=str(tmp_path))


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_a_pickle_is_not_read_by_any_name(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "bomb")))
    with pytest.raises(ModelError, match=r"pickles|is not a safetensors file"):
        load(path)
    assert not (tmp_path / "bomb").exists()


def test_the_bundled_model_is_allowed_under_any_roots(tmp_path):
    settings = Settings.from_env({"IP2P_DEVICE": "cpu", "IP2P_ALLOWED_ROOTS": str(tmp_path)})
    assert editor_for(Recipe(instruction="x", model="tiny"), settings).device.startswith("cpu")


def test_the_scheduler_of_a_model_folder_is_read_and_a_damaged_one_is_none(tmp_path):
    assert catalog.scheduler_config("tiny")["prediction_type"] == "v_prediction"
    assert catalog.scheduler_config("timbrooks/instruct-pix2pix")["beta_end"] == 0.012
    assert catalog.scheduler_config("owner/name") == {}
    (tmp_path / "scheduler").mkdir()
    for text in ("[1]", "{"):
        (tmp_path / "scheduler" / "scheduler_config.json").write_text(text)
        assert catalog.scheduler_config(str(tmp_path)) == {}
