"""The training loop: it learns, and a run that was stopped ends as if it had not been."""

import csv
import math
from importlib.util import find_spec

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ip2p_batch.errors import ModelError, RecipeError
from ip2p_batch.training.fit import CHECKPOINTS, Fitting, derived, fit, learning_rate


class Line(nn.Module):
    """Learns y = 3x - 1; a little noise makes the order of chance matter."""

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


def options(**values):
    return Fitting(
        **{"steps": 60, "batch_size": 8, "learning_rate": 0.1, "warmup_steps": 5,
           "checkpoint_every": 20, "ema_decay": 0.9, "weight_decay": 0.0} | values
    )  # fmt: skip


def bits(task):
    return [p.detach().clone() for p in task.model.parameters()]


def test_it_learns_and_leaves_what_is_frozen_alone(tmp_path):
    task = LineTask()
    frozen = task.model.frozen.weight.item()
    fitted = fit(task, options(steps=300), tmp_path)
    assert fitted.step == 300 and fitted.loss < 0.05
    assert task.model.layer.weight.item() == pytest.approx(3, abs=0.3)
    assert task.model.frozen.weight.item() == frozen


@pytest.mark.parametrize("stop_at", [1, 20, 33, 59])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_gone_on_with_ends_with_the_same_bits(tmp_path, stop_at, accumulate):
    how = options(gradient_accumulation_steps=accumulate)
    whole, parts = LineTask(), LineTask()
    fit(whole, how, tmp_path / "whole")
    fit(parts, how, tmp_path / "parts", stop_at=stop_at)
    again = LineTask()
    fit(again, how, tmp_path / "parts")
    for one, other in zip(bits(whole), bits(again), strict=True):
        assert torch.equal(one, other)
    curves = [(tmp_path / name / "curve.csv").read_text() for name in ("whole", "parts")]
    assert curves[0] == curves[1]


def test_a_finished_run_is_not_trained_again(tmp_path):
    steps = []
    first = LineTask()
    fit(first, options(), tmp_path)
    second = LineTask()
    fit(second, options(), tmp_path, progress=lambda step, *_: steps.append(step))
    assert steps == []
    assert all(map(torch.equal, bits(first), bits(second)))


def test_a_run_that_died_while_it_wrote_a_checkpoint_goes_on_from_the_one_before(tmp_path):
    fit(LineTask(), options(), tmp_path, stop_at=40)
    half = tmp_path / CHECKPOINTS / ".step-0000060"
    half.mkdir()
    (half / "weights.safetensors").write_bytes(b"half")
    whole, again = LineTask(), LineTask()
    fit(whole, options(), tmp_path / "whole")
    fit(again, options(), tmp_path)
    assert all(map(torch.equal, bits(whole), bits(again)))


def test_checkpoints_are_few_and_the_curve_is_whole(tmp_path):
    fit(LineTask(), options(keep_checkpoints=1), tmp_path)
    assert [p.name for p in (tmp_path / CHECKPOINTS).iterdir()] == ["step-0000060"]
    rows = list(csv.DictReader((tmp_path / "curve.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(1, 61))
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert any((tmp_path / "logs").iterdir())


def test_validation_sees_the_averaged_weights_and_gives_the_others_back(tmp_path):
    task = LineTask()
    fit(task, options(ema_decay=0.99), tmp_path, stop_at=40)
    raw = task.model.layer.weight.item()
    seen = dict(task.validated)
    assert sorted(seen) == [20, 40]
    assert seen[40] != raw


def test_other_options_than_the_checkpoints_are_refused(tmp_path):
    fit(LineTask(), options(), tmp_path, stop_at=20)
    with pytest.raises(RecipeError, match=r"learning_rate = 0\.1, not 0\.2") as caught:
        fit(LineTask(), options(learning_rate=0.2), tmp_path)
    assert caught.value.hint
    fit(LineTask(), options(checkpoint_every=30, keep_checkpoints=5), tmp_path)


def test_a_loss_that_is_no_number_ends_the_run_and_says_what_to_do(tmp_path):
    with pytest.raises(ModelError, match="step 1 is") as caught:
        fit(LineTask(scale=math.inf), options(), tmp_path)
    assert "--learning-rate" in caught.value.hint


def test_nothing_to_train_is_an_error(tmp_path):
    task = LineTask()
    task.model.requires_grad_(requires_grad=False)
    with pytest.raises(RecipeError, match="nothing to train"):
        fit(task, options(), tmp_path)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"mixed_precision": "int8"}, "mixed precision"),
        ({"steps": 0}, "steps is 0"),
        ({"hold": 2.0}, "hold is 2.0"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
    ],
)
def test_options_out_of_range_are_refused(values, match):
    with pytest.raises(RecipeError, match=match):
        options(**values)


def test_8bit_adam_without_its_package_is_an_error(tmp_path):
    if find_spec("bitsandbytes"):
        pytest.skip("it is installed")
    with pytest.raises(RecipeError, match="bitsandbytes"):
        fit(LineTask(), options(use_8bit_adam=True), tmp_path)


@given(
    steps=st.integers(1, 10_000), warmup=st.integers(0, 500), hold=st.floats(0, 1),
    at=st.floats(0, 1),
)  # fmt: skip
def test_the_rate_is_never_above_its_highest_and_never_falls_below_a_hundredth(
    steps, warmup, hold, at
):
    fitting = Fitting(steps=steps, warmup_steps=warmup, hold=hold, learning_rate=1.0)
    step = round(at * (steps - 1))
    rate = learning_rate(step, fitting)
    assert 0 < rate <= 1.0
    if step >= warmup:
        assert rate >= 0.0099


def test_derived_seeds_are_those_of_every_machine():
    assert derived(0, "noise", 1) == 1172851734560275009
    assert len({derived(0, "noise", step, rank) for step in range(100) for rank in range(4)}) == 400
