"""Control nets of a recipe: found, checked, allowed and identified by their files."""

import json
import shutil

import cv2
import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ip2p_batch.cli.plan_text import describe
from ip2p_batch.editing.control.loading import MAX_NETS, NetCache, load_net
from ip2p_batch.editing.loading import load_editor
from ip2p_batch.errors import ModelError, OutsideRoots
from ip2p_batch.jobs.compatibility import differences
from ip2p_batch.models import catalog, control_nets
from ip2p_batch.planning import nets
from ip2p_batch.planning.cost import cost
from ip2p_batch.planning.memory import memory
from ip2p_batch.planning.prepare import prepare_job, video_options
from ip2p_batch.planning.request import EditRequest
from ip2p_batch.recipe import Recipe
from ip2p_batch.recipe_parts import Control
from ip2p_batch.settings import Settings
from workers.editor_cache import EditorCache

from . import control_nets as tiny
from .control_nets import adapter, control_net, hinted
from .tiny_pipelines import frames, pipeline, recipe


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder with a ControlNet and an adapter of its own."""
    folder = tmp_path_factory.mktemp("models") / "model"
    pipeline().save_pretrained(folder)
    control_net().save_pretrained(folder / "control/canny")
    adapter().save_pretrained(folder / "adapter/canny")
    adapter().save_pretrained(folder / "adapter/color")
    return folder


@pytest.fixture
def other_net(tmp_path):
    """A net in a folder of its own."""
    control_net(seed=8).save_pretrained(tmp_path / "other net")
    return tmp_path / "other net"


def request(tmp_path, edit_recipe):
    source = tmp_path / "a.png"
    cv2.imwrite(str(source), np.full((64, 64, 3), 99, np.uint8))
    return EditRequest(source=source, recipe=edit_recipe)


def asked(model, *controls, **values):
    return Recipe(instruction="x", model=str(model), control=controls, **values)


# -- where nets are -----------------------------------------------------------------------


def test_a_net_is_found_in_the_models_folder_by_kind_or_by_its_own_folder(model, other_net):
    def found(kind, net=None):
        return control_nets.locate(str(model), kind, net)

    assert found("canny") == found("canny", "control") == str(model / "control/canny")
    assert found("canny", "adapter") == str(model / "adapter/canny")
    assert found("color") == str(model / "adapter/color")
    assert found("canny", str(other_net)) == str(other_net)
    assert found("depth", "lllyasviel/sd-controlnet-depth") == "lllyasviel/sd-controlnet-depth"
    assert control_nets.is_hub_id(found("depth", "owner/name"))


@pytest.mark.parametrize(
    ("kind", "net", "message"),
    [
        ("depth", None, "has no control net of its own for 'depth'."),
        ("depth", "adapter", "has no T2I-Adapter of its own for 'depth'."),
        ("../control/canny", None, "has no control net of its own for '../control/canny'."),
        ("canny", "no/such/folder", "no/such/folder is no folder of a control net, and no hub id."),
        ("canny", "/no/such", "/no/such is no folder of a control net, and no hub id."),
    ],
)
def test_a_net_that_is_not_there_is_named(model, kind, net, message):
    with pytest.raises(ModelError) as error:
        control_nets.locate(str(model), kind, net)
    assert error.value.message.endswith(message)


def test_a_model_on_the_hub_has_no_nets_of_its_own():
    with pytest.raises(ModelError, match="has no control net of its own for 'canny'"):
        nets.check_nets(asked("timbrooks/instruct-pix2pix", Control(kind="canny")))


# -- checks before anything is queued --------------------------------------------------------


def test_nets_that_fit_are_planned(tmp_path, model, other_net):
    own, named = Control(kind="canny"), Control(kind="tile", model=str(other_net))
    prepared = prepare_job(request(tmp_path, asked(model, own, named)))
    assert prepared.job.recipe.control == (own, named)
    assert len(set(prepared.job.net_digests)) == 2


def test_a_net_of_another_base_is_refused_in_planning(tmp_path, model, other_net):
    config = json.loads((other_net / "config.json").read_text())
    (other_net / "config.json").write_text(json.dumps({**config, "cross_attention_dim": 2048}))
    edit_recipe = asked(model, Control(kind="canny", model=str(other_net)))
    with pytest.raises(ModelError, match=r"other net is for Stable Diffusion XL; .*model is based"):
        prepare_job(request(tmp_path, edit_recipe))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda net: (net / "config.json").unlink(), "is no control net: it has no config.json."),
        (lambda net: (net / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda net: (net / "config.json").write_text("[]"), "config.json holds no JSON object"),
        (
            lambda net: (net / control_nets.WEIGHTS[0]).rename(net / "diffusion_pytorch_model.bin"),
            "has only diffusion_pytorch_model.bin; a control net needs",
        ),
        (lambda net: (net / control_nets.WEIGHTS[0]).unlink(), "has no weights; a control net"),
    ],
)
def test_a_damaged_folder_is_refused_in_planning(tmp_path, model, other_net, spoil, message):
    spoil(other_net)
    edit_recipe = asked(model, Control(kind="canny", model=str(other_net)))
    with pytest.raises(ModelError, match=message):
        prepare_job(request(tmp_path, edit_recipe))


def test_the_editor_without_a_model_needs_no_nets(tmp_path, settings):
    edit_recipe = asked("identity", Control(kind="canny"))
    assert prepare_job(request(tmp_path, edit_recipe)).job.net_digests == ()
    clip = hinted(frames(2))
    edited = EditorCache(settings).get(edit_recipe).session(edit_recipe).edit(clip)
    assert [frame.image is own.image for frame, own in zip(edited, clip, strict=True)] == [True] * 2


def test_a_net_of_another_base_is_refused_for_a_known_model_that_is_not_downloaded(other_net):
    control = Control(kind="canny", model=str(other_net))
    with pytest.raises(ModelError, match="text embeddings of width 16; timbrooks/instruct-pix2pix"):
        nets.check_nets(asked("timbrooks/instruct-pix2pix", control))


def test_a_net_in_the_text_branch_alone_has_a_note_on_its_weight(tmp_path, model):
    def notes(control):
        warnings = prepare_job(request(tmp_path, asked(model, control))).plan.warnings
        return [line for line in warnings if "branch" in line]

    assert notes(Control(kind="canny")) == []
    assert notes(Control(kind="canny", branches="text")) == [
        "The canny net acts in the text branch alone, where guidance multiplies it by 7.5: a scale"
        " of 0.5 acts like 3.75 in all branches."
    ]


def test_nets_count_in_the_estimated_memory_and_work(tmp_path, model):
    control = Control(kind="canny")
    plain, twice = asked(model), asked(model, control, control, Control(kind="color"))
    estimates = [memory(own, 64, 64, gpu=False) for own in (plain, twice)]
    bytes_of = [0 if own is None else own.weights for own in estimates]
    parameters = sum(p.numel() for net in (control_net(), adapter()) for p in net.parameters())
    assert bytes_of[1] - bytes_of[0] == parameters * (bytes_of[0] // _parameters_of(model))
    prepared = [prepare_job(request(tmp_path, own)) for own in (plain, twice)]
    work = [cost(own.job, own.plan, own.plan.chunks[-1]) for own in prepared]
    assert work[1] > 2 * work[0]


def _parameters_of(model):
    """Of the edit model alone."""
    files = [f for part in ("unet", "vae", "text_encoder") for f in (model / part).glob("*.safe*")]
    return sum(t.numel() for file in files for t in load_file(file).values())


# -- identity -----------------------------------------------------------------------------


def test_other_weights_in_the_same_folder_are_another_job(tmp_path, model, other_net):
    asked_for = request(tmp_path, asked(model, Control(kind="canny", model=str(other_net))))

    def identity():
        prepared = prepare_job(asked_for)
        item = prepared.items[0]
        return (
            prepared.job.fingerprint(),
            prepared.job.item_fingerprint(item),
            video_options(asked_for),
        )

    before = identity()
    assert identity() == before
    weights = other_net / control_nets.WEIGHTS[0]
    copy = weights.read_bytes()
    control_net(seed=9).save_pretrained(other_net)
    assert not set(identity()) & set(before)
    weights.write_bytes(copy)  # the time of the file does not count
    assert identity() == before


def test_relative_paths_of_nets_are_made_absolute(tmp_path, model, monkeypatch):
    shutil.copytree(model / "control/canny", tmp_path / "net")
    monkeypatch.chdir(tmp_path)
    edit_recipe = asked(model, Control(kind="canny", model="net"), Control(kind="canny"))
    first, second = prepare_job(request(tmp_path, edit_recipe)).job.recipe.control
    assert (first.model, second.model) == (str(tmp_path / "net"), None)


def test_workers_with_another_net_differ_in_their_compute_profile():
    asked_for = recipe(control=(Control(kind="0"),))
    one, same, other = (
        tiny.editor(control_net(seed=seed)).profile_for(asked_for) for seed in (1, 1, 2)
    )
    assert one == same
    (difference,) = differences(other, one)
    assert difference.startswith("control nets ")
    plain = tiny.editor(control_net())
    assert plain.profile_for(recipe()) == plain.compute_profile
    assert msgspec.structs.replace(one, nets="") == plain.compute_profile


# -- who may load what ------------------------------------------------------------------------


def test_the_list_of_allowed_models_holds_for_nets(model, other_net):
    def check(control, *allowed):
        settings = Settings.from_env({"IP2P_ALLOWED_MODELS": ",".join(allowed)})
        nets.check_allowed(asked(model, control), settings, roots=False)

    check(Control(kind="canny"), str(model))
    check(Control(kind="canny", model=str(other_net)), str(other_net.parent))
    check(Control(kind="canny", model="owner/name"), "owner/name")
    check(Control(kind="canny", model="owner/name", revision="v1"), "owner/name@v1")
    for wrong in (str(other_net), "owner/name"):
        with pytest.raises(ModelError, match="is not allowed here"):
            check(Control(kind="canny", model=wrong), str(model), "owner/other")


def test_a_worker_checks_nets_also_for_a_model_that_is_loaded(tmp_path, model, other_net):
    env = {"IP2P_ALLOWED_ROOTS": str(model.parent), "IP2P_DEVICE": "cpu"}
    editors = EditorCache(Settings.from_env(env))
    editors.get(asked(model, Control(kind="canny")))
    with pytest.raises(OutsideRoots, match="other net"):
        editors.get(asked(model, Control(kind="canny", model=str(other_net))))
    inside = model.parent / "linked"
    shutil.copytree(other_net, inside)
    (inside / control_nets.WEIGHTS[0]).unlink()
    (inside / control_nets.WEIGHTS[0]).symlink_to(other_net / control_nets.WEIGHTS[0])
    with pytest.raises(OutsideRoots):
        editors.get(asked(model, Control(kind="canny", model=str(inside))))


# -- loading ------------------------------------------------------------------------------


def test_nets_are_loaded_from_the_models_folder(model):
    owner = load_editor(str(model), device="cpu", dtype="float32")
    pair = (Control(kind="canny", scale=1), Control(kind="color", scale=1))
    edit_recipe = recipe(model=str(model), control=pair)
    clip = hinted(frames(1), 2)
    direct = tiny.editor(control_net(), adapter())
    numbered = tuple(Control(kind=str(number), scale=1) for number in range(2))
    expected = direct.session(recipe(control=numbered)).edit(clip)[0].image
    ours = owner.session(edit_recipe).edit(clip)[0].image
    assert np.array_equal(ours, expected)


def test_half_precision_weights_are_loaded(tmp_path, model):
    net = control_net().half()
    net.save_pretrained(tmp_path / "half", variant="fp16")
    loaded = load_net(str(model), Control(kind="canny", model=str(tmp_path / "half")))
    assert torch.equal(loaded.conv_in.weight.float(), net.conv_in.weight.float())


def test_weights_of_another_shape_are_one_line(model, other_net):
    config = json.loads((other_net / "config.json").read_text())
    config["conditioning_embedding_out_channels"] = [4, 16]
    (other_net / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="other net cannot be loaded") as error:
        load_net(str(model), Control(kind="canny", model=str(other_net)))
    assert "\n" not in error.value.message


def test_a_net_that_is_not_on_this_machine_is_one_line(model, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    control = Control(kind="canny", model="no-such-owner/no-such-net")
    nets.check_nets(asked(model, control))  # it may be on the workers' machine
    with pytest.raises(ModelError, match="no-such-owner/no-such-net cannot be loaded"):
        load_net(str(model), control)


def test_a_net_that_does_not_fit_is_refused_by_the_editor():
    owner = tiny.editor(control_net(in_channels=8))
    with pytest.raises(ModelError, match="0 takes 8 channels, not the 4 noisy ones of tiny-pipe"):
        owner.session(recipe(control=(Control(kind="0"),)))


def test_the_last_nets_stay_loaded():
    loaded = []

    def load(control):
        loaded.append(control.model)
        return control_net()

    cache = NetCache(load, pipeline(), "tiny-pipeline", "cpu", torch.float32)
    controls = [Control(kind="a", model=str(number)) for number in range(MAX_NETS + 1)]
    first = cache.get(controls[:1])
    assert cache.get([msgspec.structs.replace(controls[0], scale=0.1, caption="b")]) == first
    cache.get(controls)  # a recipe may have more
    assert loaded == [control.model for control in controls]
    cache.get(controls[-1:])
    cache.get(controls[:1])
    assert loaded[len(controls) :] == [controls[0].model]


def test_the_bundled_models_nets_are_allowed_with_the_model():
    place = str(catalog.BUNDLED["tiny"] / "control/canny")
    control_nets.check_allowed(place, None, ("tiny",))


def test_the_plan_shows_each_net_with_its_work(tmp_path, model):
    controls = (
        Control(kind="canny", end=0.5, scale=0.7),
        Control(kind="color"),
        Control(kind="canny", model="owner/name", hints=str(tmp_path / "a.png")),
    )
    prepared = prepare_job(request(tmp_path, asked(model, *controls, size=64)))
    shown = "\n".join(" ".join(line.split()) for line in describe(prepared))
    assert (
        f"control ControlNet {model}/control/canny, scale 0.7 from 0 to 0.5 of the steps" in shown
    )
    assert "canny hints made from the source; about +18% work" in shown
    assert f"T2I-Adapter {model}/adapter/color, scale 0.5" in shown
    assert "color hints made from the source; nearly no work" in shown
    assert "control net owner/name, scale 0.5" in shown
    assert f"canny hints from {tmp_path}/a.png; not on this machine yet" in shown
