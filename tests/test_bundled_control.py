"""The control nets of the bundled model: small, fitting, and of effect at a strong text scale."""

import json
from pathlib import Path

import av
import cv2
import pytest

from ip2p_batch.editing.loading import load_editor
from ip2p_batch.evaluation.sharpness import edge_f1
from ip2p_batch.frame import Frame
from ip2p_batch.hints.make import make_hint
from ip2p_batch.models import control_nets, net_checks
from ip2p_batch.models.catalog import BUNDLED, defaults
from ip2p_batch.recipe import Recipe
from ip2p_batch.recipe_parts import Control

DEMO = Path(__file__).parents[1] / "ip2p_batch/demo/clip.mp4"
FOLDERS = (control_nets.CONTROL_FOLDER, control_nets.ADAPTER_FOLDER)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_net_for_edges_is_bundled_and_fits(folder):
    place = control_nets.locate("tiny", "canny", folder)
    assert control_nets.is_bundled(place)
    files = list(BUNDLED["tiny"].joinpath(folder, "canny").iterdir())
    assert sum(file.stat().st_size for file in files) < 15e6
    unet, vae = control_nets.model_configs("tiny")
    net_checks.check_net(place, control_nets.read_config(place), "tiny", unet, vae, caption=False)


def test_the_net_that_is_used_by_default_is_the_controlnet():
    place = control_nets.locate("tiny", "canny", None)
    config = json.loads((BUNDLED["tiny"] / "control/canny/config.json").read_text())
    assert place.endswith("control/canny") and config["_class_name"] == net_checks.CONTROL_NET


def frame_of_the_demo():
    with av.open(str(DEMO)) as container:
        image = next(container.decode(video=0)).to_ndarray(format="rgb24")
    side = min(image.shape[:2])
    return cv2.resize(image[:side, :side], (192, 192), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize(("folder", "scale"), [("control", 1.0), ("adapter", 0.3)])
def test_with_a_net_more_edges_of_the_source_remain_at_a_strong_text_scale(folder, scale):
    image = frame_of_the_demo()
    editor = load_editor("tiny", device="cpu", dtype="float32")

    def edges(*nets):
        recipe = Recipe(
            **{**defaults("tiny"), "guidance_scale": 7.5, "image_guidance_scale": 1.0},
            instruction="make it night", model="tiny", size=192, control=nets,
        )  # fmt: skip
        frame = Frame(0, 0, image, hints=tuple(make_hint(net.kind, image) for net in nets))
        return edge_f1(editor.session(recipe).edit([frame])[0].image, image)

    assert edges(Control(kind="canny", model=folder, scale=scale)) > edges() + 0.02
