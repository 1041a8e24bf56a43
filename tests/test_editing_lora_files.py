"""The file of a LoRA: on this machine, in the hub's cache, of this content."""

import hashlib

import pytest
import torch

from ip2p_batch.editing.lora import files
from ip2p_batch.errors import ModelError
from ip2p_batch.recipe_parts import Lora

from .lora_files import save

_TENSORS = {
    "unet.conv_out.lora_A.weight": torch.ones(1, 2),
    "unet.conv_out.lora_B.weight": torch.ones(2, 1),
}


@pytest.fixture
def look(tmp_path):
    return save(tmp_path / "loras" / "look.safetensors", _TENSORS)


def hub_cache(folder, monkeypatch, name="owner/look", file="pytorch_lora_weights.safetensors"):
    """The file of a LoRA in a cache as huggingface_hub keeps it."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    repository = folder / f"models--{name.replace('/', '--')}"
    commit = "0123456789" * 4
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    return save(repository / "snapshots" / commit / file, _TENSORS)


def test_a_file_and_the_only_file_of_a_folder_are_found(look):
    assert files.local_file(Lora(model=str(look))) == look
    assert files.local_file(Lora(model=str(look.parent))) == look
    assert files.local_file(Lora(model=str(look.parent), file=look.name)) == look
    assert files.local_file(Lora(model="owner/look")) is None


def test_options_that_do_not_apply_are_refused(look):
    for lora, reason in [
        (Lora(model=str(look), revision="v1"), "revision=v1 is for the hub"),
        (Lora(model=str(look), file="x.safetensors"), "is for folders and the hub"),
    ]:
        with pytest.raises(ModelError, match=reason):
            files.local_file(lora)


def test_a_folder_with_several_files_needs_the_name_of_one(look):
    other = save(look.with_name("another.safetensors"), _TENSORS)
    with pytest.raises(ModelError, match=r"has 2 \.safetensors files.*another\.safetensors\."):
        files.local_file(Lora(model=str(look.parent)))
    assert files.local_file(Lora(model=str(look.parent), file=other.name)) == other


@pytest.mark.parametrize("file", ["missing.safetensors", "../look.safetensors", "/etc/hostname"])
def test_a_file_outside_of_the_folder_is_not_found(look, file):
    (look.parent / "inner").mkdir()
    folder = look.parent if file.startswith("missing") else look.parent / "inner"
    with pytest.raises(ModelError, match="has no file"):
        files.local_file(Lora(model=str(folder), file=file))


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".ckpt", ".pth"])
def test_a_pickle_is_refused_with_the_reason(tmp_path, suffix):
    path = tmp_path / f"look{suffix}"
    path.write_bytes(b"anything")
    with pytest.raises(ModelError, match="a pickle, which can run code when it is loaded"):
        files.local_file(Lora(model=str(path)))
    with pytest.raises(ModelError, match="a pickle"):
        files.local_file(Lora(model=str(tmp_path), file=path.name))
    with pytest.raises(ModelError, match="a pickle"):
        files.hub_file(Lora(model="owner/look", file=path.name))


def test_what_is_not_there_is_named(tmp_path):
    for model in (str(tmp_path / "look.safetensors"), "./look", "look.safetensors", "a/b.bin"):
        with pytest.raises(ModelError, match="There is no LoRA"):
            files.local_file(Lora(model=model))
    with pytest.raises(ModelError, match=r"has no \.safetensors file"):
        files.local_file(Lora(model=str(tmp_path)))


@pytest.mark.parametrize("data", [b"", b"x" * 100, b"\xff" * 8 + b"{}"])
def test_a_damaged_file_is_named(tmp_path, data):
    path = tmp_path / "look.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"look\.safetensors is not a safetensors file"):
        files.read_header(path)


def test_a_pinned_lora_has_the_path_and_the_digest_of_its_file(look, monkeypatch):
    monkeypatch.chdir(look.parent.parent)
    digest = hashlib.sha256(look.read_bytes()).hexdigest()
    pinned = Lora(model=str(look), weight=0.5, digest=digest)
    assert files.pinned(Lora(model="loras", weight=0.5)) == pinned
    assert files.pinned(pinned) == pinned


def test_a_changed_file_is_refused_by_its_digest(look):
    pinned = files.pinned(Lora(model=str(look)))
    save(look, _TENSORS, note="trained longer")
    with pytest.raises(ModelError, match="has changed: its SHA-256 starts with"):
        files.pinned(pinned)
    assert files.pinned(Lora(model=str(look))).digest != pinned.digest


def test_a_lora_of_the_hub_is_found_in_its_cache_without_a_connection(tmp_path, monkeypatch):
    cached = hub_cache(tmp_path / "hub", monkeypatch)
    lora = Lora(model="owner/look")
    assert files.cached_file(lora) == cached
    pinned = files.pinned(lora)
    assert pinned == Lora(model="owner/look", digest=files.file_digest(cached))
    assert files.hub_file(pinned) == cached == files.hub_file(lora)
    assert files.cached_file(Lora(model="owner/look", file="other.safetensors")) is None


def test_without_a_connection_a_lora_of_the_hub_is_missing_in_one_line(tmp_path, monkeypatch):
    hub_cache(tmp_path / "hub", monkeypatch)
    for lora in (Lora(model="owner/other"), Lora(model="owner/look", file="other.safetensors")):
        assert files.pinned(lora) == lora
        with pytest.raises(ModelError, match="is not on this machine, and the model hub cannot be"):
            files.hub_file(lora)


def test_the_list_of_allowed_models_is_for_loras_too(look, tmp_path):
    local, hub = Lora(model=str(look)), Lora(model="owner/look", revision="v1")
    for allowed in (None, ["tiny", str(look.parent)], [str(look)]):
        files.check_allowed(local, allowed)
    for allowed in (None, ["owner/look"], ["owner/look@v1"]):
        files.check_allowed(hub, allowed)
    for lora, allowed in [
        (local, []),
        (local, ["tiny", str(tmp_path / "others")]),
        (hub, [str(tmp_path)]),
        (hub, ["owner/look@v2"]),
    ]:
        with pytest.raises(ModelError, match=r"is not allowed here \(IP2P_ALLOWED_MODELS\)"):
            files.check_allowed(lora, allowed)


def test_a_link_out_of_an_allowed_folder_is_not_allowed(look, tmp_path):
    (tmp_path / "allowed").mkdir()
    link = tmp_path / "allowed" / "look.safetensors"
    link.symlink_to(look)
    with pytest.raises(ModelError, match="is not allowed here"):
        files.check_allowed(Lora(model=str(link)), [str(tmp_path / "allowed")])
