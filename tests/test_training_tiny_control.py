"""Building a control net for the bundled model: it is trained and where the model looks for it."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from ip2p_batch.editing.loading import load_editor
from ip2p_batch.errors import RecipeError
from ip2p_batch.frame import Frame
from ip2p_batch.hints.make import make_hint
from ip2p_batch.models.control_nets import ADAPTER_FOLDER, CONTROL_FOLDER
from ip2p_batch.recipe import Recipe
from ip2p_batch.recipe_parts import Control
from training.tiny import __main__ as command
from training.tiny.build import list_images, load_config
from training.tiny.control import build_net
from training.tiny.crops import make_crops

from .pictures import save, scene

TOML = Path(__file__).parents[1] / "training/tiny.toml"
change = msgspec.structs.replace


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(2):
        save(folder / f"{number}.png", np.roll(scene(120, 90), 11 * number, (0, 1)))
    config = change(load_config(TOML).crops, size=64, per_photo=2, edits_per_crop=3)
    return make_crops(list_images(folder), folder / "crops", config)


def small_config():
    """The real configuration with stages of two steps of two small squares."""
    config = load_config(TOML).control
    stages = {
        net_type: tuple(
            change(stage, side=8, training=change(stage.training, steps=2, batch_size=2))
            for stage in of_type
        )
        for net_type, of_type in config.stages.items()
    }
    return change(config, every_crop=2, edits_per_crop=2, stages=stages)


@pytest.mark.parametrize(
    ("net_type", "place"), [("controlnet", CONTROL_FOLDER), ("t2i-adapter", ADAPTER_FOLDER)]
)
def test_a_net_of_the_bundled_model_is_built_and_edits(crops, tmp_path, net_type, place):
    stages = set()
    folder = build_net(
        small_config(), "canny", net_type, "tiny", crops, tmp_path / "work", tmp_path / "model",
        progress=lambda stage, *_: stages.add(stage),
    )  # fmt: skip
    assert folder == tmp_path / "model" / place / "canny"
    assert stages == {"latents", f"{net_type}-canny-1", f"{net_type}-canny-2"}
    weights = folder / "diffusion_pytorch_model.safetensors"
    assert weights.stat().st_size < 15e6 and weights.stat().st_mode & 0o044
    image = scene(64, 48)
    recipe = Recipe(
        instruction="make it night", model="tiny", size=64, num_inference_steps=2,
        control=(Control(kind="canny", model=str(folder)),),
    )  # fmt: skip
    frame = Frame(0, 0, image, hints=(make_hint("canny", image),))
    edited = load_editor("tiny", device="cpu", dtype="float32").session(recipe).edit([frame])
    assert edited[0].image.shape == (48, 64, 3)


def test_every_so_many_crops_and_the_first_edits_are_used(crops):
    part = crops.subset(2, 2)
    assert len(part) == len(crops) // 2 and part.edits.shape == (len(crops) // 2, 2)
    assert np.array_equal(part.sources[1], crops.sources[2])
    assert np.array_equal(part.edited[1], crops.edited[2, :2])


def test_an_unknown_kind_of_hints_is_refused_before_anything_is_made(crops, tmp_path):
    with pytest.raises(RecipeError, match="'sky' is no kind of hints"):
        build_net(small_config(), "sky", "controlnet", "tiny", crops, tmp_path, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_takes_the_type_of_the_net():
    options = command.parse(["-o", "m", "--control", "canny", "--control-type", "t2i-adapter"])
    assert (options.control, options.control_type, options.base) == ("canny", "t2i-adapter", None)
