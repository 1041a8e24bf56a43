"""The training loop: it trains, and a resumed run is bit-identical to an uninterrupted one."""

import csv
import math
from importlib.util import find_spec

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ip2p_batch.errors import ModelError, RecipeError
from ip2p_batch.training.checkpoints import FOLDER
from ip2p_batch.training.config import TrainingConfig, learning_rate_at
from ip2p_batch.training.seeds import derive_seed
from ip2p_batch.training.trainer import train_model


class Line(nn.Module):
    """Fits y = 3x - 1 with noise, so that the result depends on the random numbers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Linear(1, 1)
        self.frozen = nn.Linear(1, 1).requires_grad_(requires_grad=False)

    def forward(self, batch):
        x = batch["x"]
        noisy = 3 * x - 1 + 0.1 * torch.randn_like(x)
        return (self.layer(x) - noisy).square().mean() * batch.get("scale", 1.0)


class LineTask:
    def __init__(self, scale=1.0):
        self.model = Line()
        self.scale = scale
        self.validated = []

    def batch(self, size, seed):
        generator = torch.Generator().manual_seed(seed)
        return {"x": torch.rand(size, 1, generator=generator), "scale": self.scale}

    def validate(self, step, folder):
        self.validated.append((step, self.model.layer.weight.item()))
        return {"figure": 1.0}


def config_of(**values):
    return TrainingConfig(
        **{"steps": 60, "batch_size": 8, "learning_rate": 0.1, "warmup_steps": 5,
           "checkpoint_every": 20, "ema_decay": 0.9, "weight_decay": 0.0} | values
    )  # fmt: skip


def parameters(task):
    return [p.detach().clone() for p in task.model.parameters()]


def test_training_fits_the_data_and_does_not_change_frozen_parameters(tmp_path):
    task = LineTask()
    frozen = task.model.frozen.weight.item()
    result = train_model(task, config_of(steps=300), tmp_path)
    assert result.step == 300 and result.loss < 0.05
    assert task.model.layer.weight.item() == pytest.approx(3, abs=0.3)
    assert task.model.frozen.weight.item() == frozen


@pytest.mark.parametrize("stop_at", [1, 20, 33, 59])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_is_bit_identical_to_an_uninterrupted_one(tmp_path, stop_at, accumulate):
    config = config_of(gradient_accumulation_steps=accumulate)
    uninterrupted, interrupted = LineTask(), LineTask()
    train_model(uninterrupted, config, tmp_path / "whole")
    train_model(interrupted, config, tmp_path / "parts", stop_at=stop_at)
    resumed = LineTask()
    train_model(resumed, config, tmp_path / "parts")
    for expected, actual in zip(parameters(uninterrupted), parameters(resumed), strict=True):
        assert torch.equal(expected, actual)
    curves = [(tmp_path / name / "curve.csv").read_text() for name in ("whole", "parts")]
    assert curves[0] == curves[1]


def test_a_finished_run_is_not_trained_again(tmp_path):
    steps = []
    first = LineTask()
    train_model(first, config_of(), tmp_path)
    second = LineTask()
    train_model(second, config_of(), tmp_path, progress=lambda step, *_: steps.append(step))
    assert steps == []
    assert all(map(torch.equal, parameters(first), parameters(second)))


def test_a_partly_written_checkpoint_is_ignored(tmp_path):
    train_model(LineTask(), config_of(), tmp_path, stop_at=40)
    partial = tmp_path / FOLDER / ".step-0000060"
    partial.mkdir()
    (partial / "weights.safetensors").write_bytes(b"half")
    uninterrupted, resumed = LineTask(), LineTask()
    train_model(uninterrupted, config_of(), tmp_path / "whole")
    train_model(resumed, config_of(), tmp_path)
    assert all(map(torch.equal, parameters(uninterrupted), parameters(resumed)))


def test_old_checkpoints_are_deleted_and_the_curve_has_every_step(tmp_path):
    train_model(LineTask(), config_of(keep_checkpoints=1), tmp_path)
    assert [p.name for p in (tmp_path / FOLDER).iterdir()] == ["step-0000060"]
    rows = list(csv.DictReader((tmp_path / "curve.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(1, 61))
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert any((tmp_path / "logs").iterdir())


def test_validation_uses_the_averaged_weights_and_restores_the_trained_ones(tmp_path):
    task = LineTask()
    train_model(task, config_of(ema_decay=0.99), tmp_path, stop_at=40)
    raw = task.model.layer.weight.item()
    seen = dict(task.validated)
    assert sorted(seen) == [20, 40]
    assert seen[40] != raw


def test_a_checkpoint_written_with_other_options_is_refused(tmp_path):
    train_model(LineTask(), config_of(), tmp_path, stop_at=20)
    with pytest.raises(RecipeError, match=r"learning_rate = 0\.1, not 0\.2") as caught:
        train_model(LineTask(), config_of(learning_rate=0.2), tmp_path)
    assert caught.value.hint
    train_model(LineTask(), config_of(checkpoint_every=30, keep_checkpoints=5), tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run_with_a_hint(tmp_path):
    with pytest.raises(ModelError, match="step 1 is") as caught:
        train_model(LineTask(scale=math.inf), config_of(), tmp_path)
    assert "--learning-rate" in caught.value.hint


def test_a_model_without_trainable_parameters_is_refused(tmp_path):
    task = LineTask()
    task.model.requires_grad_(requires_grad=False)
    with pytest.raises(RecipeError, match="nothing to train"):
        train_model(task, config_of(), tmp_path)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"mixed_precision": "int8"}, "mixed_precision"),
        ({"steps": 0}, "steps is 0"),
        ({"hold_fraction": 2.0}, "hold_fraction is 2.0"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
    ],
)
def test_options_out_of_range_are_refused(values, match):
    with pytest.raises(RecipeError, match=match):
        config_of(**values)


def test_8bit_adam_without_bitsandbytes_is_refused(tmp_path):
    if find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    with pytest.raises(RecipeError, match="bitsandbytes"):
        train_model(LineTask(), config_of(use_8bit_adam=True), tmp_path)


@given(
    steps=st.integers(1, 10_000), warmup=st.integers(0, 500), hold=st.floats(0, 1),
    at=st.floats(0, 1),
)  # fmt: skip
def test_the_learning_rate_is_at_most_the_peak_and_at_least_one_percent_of_it(
    steps, warmup, hold, at
):
    config = TrainingConfig(steps=steps, warmup_steps=warmup, hold_fraction=hold, learning_rate=1.0)
    step = round(at * (steps - 1))
    rate = learning_rate_at(step, config)
    assert 0 < rate <= 1.0
    if step >= warmup:
        assert rate >= 0.0099


def test_derived_seeds_are_the_same_on_every_machine():
    assert derive_seed(0, "noise", 1) == 1172851734560275009
    assert (
        len({derive_seed(0, "noise", step, rank) for step in range(100) for rank in range(4)})
        == 400
    )
