"""Training of control nets: they start as no control, train, resume, and load with diffusers."""

import json
import warnings

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, T2IAdapter
from safetensors.torch import load_file

from ip2p_batch.errors import ModelError, RecipeError
from ip2p_batch.hints.make import make_hint
from ip2p_batch.models.control_nets import NET_TYPES
from ip2p_batch.training.config import TrainingConfig
from ip2p_batch.training.control import ControlTask, ControlTrainingConfig, train_control
from ip2p_batch.training.control_loss import ControlLoss, ControlObjective
from ip2p_batch.training.control_nets import new_net
from ip2p_batch.training.dataset import DatasetConfig, make_dataset
from ip2p_batch.training.denoising import DenoisingLoss, Objective
from ip2p_batch.training.finetune_task import crop_pair
from ip2p_batch.training.pairs import read_pairs

from .pictures import save, scene
from .tiny_pipelines import pipeline

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
WEIGHTS = "diffusion_pytorch_model.safetensors"
CLASSES = {"controlnet": ControlNetModel, "t2i-adapter": T2IAdapter}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("control-pairs")
    for number in range(5):
        image = np.roll(scene(64, 64), (5 * number, 7 * number), (0, 1))
        save(folder / f"photos/{number}.png", image)
    make_dataset(folder / "photos", folder / "pairs", DatasetConfig(size=64, per_photo=2))
    return read_pairs(folder / "pairs").good


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("base"))


def saved(folder, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline(**options).save_pretrained(folder)
    return folder


def config_for(base, net_type="controlnet", steps=4, guidance=1.0, **values):
    training = TrainingConfig(
        steps=steps, batch_size=2, learning_rate=2e-3, warmup_steps=1, ema_decay=0.9, **values
    )
    return ControlTrainingConfig(
        base=str(base), net_type=net_type, size=64, validation_pairs=2,
        objective=ControlObjective(max_guidance_scale=guidance), training=training,
    )  # fmt: skip


def loss_and_batch(net_type, pairs, guidance=1.0):
    """The loss of an untrained net, that of the model alone, and a batch."""
    pipe = pipeline()
    parts = (pipe.unet, pipe.text_encoder, pipe.vae, pipe.scheduler)
    net = new_net(net_type, pipe.unet, 2)
    loss = ControlLoss(net, *parts, ControlObjective(max_guidance_scale=guidance), 2)
    task = ControlTask(pipe, loss, pairs, [], size=64, flip=False, seed=0, kind="canny")
    return loss, DenoisingLoss(*parts, Objective()), task.batch(2, 0)


def with_seed(loss, batch):
    torch.manual_seed(5)
    return loss(batch)


@pytest.mark.parametrize("net_type", NET_TYPES)
def test_an_untrained_net_changes_nothing_and_learns(pairs, net_type):
    loss, plain, batch = loss_and_batch(net_type, pairs)
    own = with_seed(loss, batch)
    assert own == with_seed(plain, batch)
    own.backward()
    trained = {name for name, p in loss.named_parameters() if p.grad is not None}
    assert trained and all(name.startswith("net.") for name in trained)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in loss.parameters())


def test_a_controlnet_starts_as_the_encoder_and_sees_the_noisy_latents_only(pairs):
    loss, _, _ = loss_and_batch("controlnet", pairs)
    unet, net = loss.unet, loss.net
    assert net.config.in_channels == 4 and unet.config.in_channels == 8
    assert torch.equal(net.conv_in.weight, unet.conv_in.weight[:, :4])
    for own, copied in zip(
        net.down_blocks.parameters(), unet.down_blocks.parameters(), strict=True
    ):
        assert torch.equal(own, copied)


def test_the_loss_is_of_the_prediction_with_guidance(pairs):
    loss, plain, batch = loss_and_batch("controlnet", pairs, guidance=8.0)
    unguided = with_seed(plain, batch)
    assert not torch.isclose(with_seed(loss, batch), unguided, rtol=1e-3)
    batch["empty_ids"] = batch["ids"]  # both branches are the same then, and no scale matters
    assert torch.isclose(with_seed(loss, batch), unguided)


def test_errors_of_detail_are_added_with_their_weight(pairs):
    loss, plain, batch = loss_and_batch("controlnet", pairs)
    with torch.no_grad():
        without = with_seed(plain, batch)
        plain.objective = Objective(detail_weight=1.0)
        once = with_seed(plain, batch)
        loss.objective = ControlObjective(detail_weight=2.0)
        twice = with_seed(loss, batch)
    assert once > without
    assert torch.isclose(twice - without, 2 * (once - without), rtol=1e-4)


@pytest.mark.parametrize("net_type", NET_TYPES)
def test_a_resumed_run_makes_the_same_net_and_diffusers_loads_it(base, pairs, tmp_path, net_type):
    config = config_for(base, net_type, checkpoint_every=2)
    result = train_control(pairs, config, tmp_path / "whole")
    assert (result.pairs, result.held_out, result.net_type) == (8, 2, net_type)
    stopped = train_control(pairs, config, tmp_path / "parts", stop_at=3)
    assert stopped.training.step == 3 and not (tmp_path / "parts" / WEIGHTS).exists()
    train_control(pairs, config, tmp_path / "parts")
    whole, parts = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    net = CLASSES[net_type].from_pretrained(tmp_path / "whole")
    values = net.state_dict()
    assert all(torch.equal(values[name], tensor.float()) for name, tensor in whole.items())
    assert any(tensor.abs().sum() > 0 for name, tensor in whole.items() if "controlnet_down" in name
               or "conv_in" in name)  # fmt: skip
    report = json.loads((tmp_path / "whole/training.json").read_text())
    assert report["steps"] == 4 and report["config"]["kind"] == "canny"


def test_guided_training_runs_and_validates(base, pairs, tmp_path):
    losses = []
    train_control(
        pairs, config_for(base, steps=2, guidance=4.0), tmp_path,
        progress=lambda *now: losses.append(now[2]),
    )  # fmt: skip
    assert len(losses) == 2 and np.isfinite(losses).all()


def test_the_validation_compares_with_the_plain_model(pairs, tmp_path):
    loss, _, _ = loss_and_batch("controlnet", pairs)
    task = ControlTask(
        pipeline(), loss, pairs, pairs[:2], size=64, flip=False, seed=0, kind="canny"
    )
    untrained = task.validate(0, tmp_path)
    assert untrained["validation_loss"] == untrained["validation_loss_without_net"]
    with torch.no_grad():
        loss.net.controlnet_mid_block.bias += 1
    assert task.validate(0, tmp_path)["validation_loss"] != untrained["validation_loss"]


def test_the_hint_is_that_of_the_source_crop(pairs):
    _, _, batch = loss_and_batch("controlnet", pairs)
    assert set(np.unique(batch["hint"])) <= {0.0, 1.0} and batch["hint"].shape == (2, 3, 64, 64)
    hints = {make_hint("canny", crop_pair(pair, 64, None)[0]).tobytes() for pair in pairs}
    for hint in batch["hint"]:
        assert (hint.permute(1, 2, 0) * 255).byte().numpy().tobytes() in hints


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"kind": "nothing"}, "'nothing' is no kind of hints"),
        ({"net_type": "other"}, "--control-type is 'other'"),
        ({"size": 100}, "--size is 100"),
    ],
)
def test_bad_options_are_refused(values, reason):
    with pytest.raises(RecipeError, match=reason):
        ControlTrainingConfig(base="tiny", **values)
    with pytest.raises(RecipeError, match=r"max_guidance_scale is 0\.5"):
        ControlObjective(max_guidance_scale=0.5)


def test_a_base_without_a_source_input_is_refused(pairs, tmp_path):
    plain = saved(tmp_path / "plain", unet_channels=4)
    with pytest.raises(ModelError, match="no edit model"):
        train_control(pairs, config_for(plain), tmp_path / "net")
