"""``train`` from the command line: output and exit codes."""

import json
import warnings

import numpy as np
import pytest
from typer.testing import CliRunner

from ip2p_batch.cli.app import app
from ip2p_batch.training.dataset import DatasetConfig, make_dataset

from .pictures import save, scene
from .tiny_pipelines import pipeline

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    for number in range(5):
        save(folder / f"photos/{number}.png", np.roll(scene(64, 64), 9 * number, (0, 1)))
    make_dataset(folder / "photos", folder / "pairs", DatasetConfig(size=64, per_photo=2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline().save_pretrained(folder / "base")
    return folder


def run(*arguments):
    done = CliRunner().invoke(app, ["train", *map(str, arguments)], env={"COLUMNS": "80"})
    return done.exit_code, done.stdout, done.stderr


def short(work, output):
    return ["-o", output, "--base", work / "base", "--steps", 2, "--size", 64, "--batch-size", 2]


def test_it_trains_and_names_the_command_that_uses_the_model(work, tmp_path):
    code, out, err = run(work / "pairs", *short(work, tmp_path / "m"))
    assert code == 0, err
    assert "LoRA rank 16, 8 pairs" in out and f"--model {tmp_path / 'm'}" in out
    assert (tmp_path / "m/model_index.json").exists() and (tmp_path / "m/loss.png").exists()


def test_json_has_every_step_and_the_result(work, tmp_path):
    code, out, _ = run(work / "pairs", *short(work, tmp_path / "m"), "--lora-rank", 0, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    steps = [line["done"] for line in lines if line["kind"] == "training"]
    assert steps == [1, 2]
    assert lines[-1]["kind"] == "done" and lines[-1]["data"]["lora_rank"] == 0


def test_bad_rows_are_listed_and_the_others_are_used(work, tmp_path):
    table = work / "pairs/pairs.jsonl"
    rows = table.read_text() + '{"input": "no.png", "instruction": "x", "edited": "no.png"}\n'
    (work / "pairs/some.jsonl").write_text(rows)
    code, out, err = run(work / "pairs/some.jsonl", *short(work, tmp_path / "m"))
    assert code == 1
    assert "some.jsonl line 11" in err and "no.png" in err and "8 pairs" in out


def test_a_missing_dataset_or_model_is_an_error_of_one_line(work, tmp_path):
    code, _, err = run(tmp_path / "nothing", *short(work, tmp_path / "m"))
    assert code == 3 and "no such dataset" in err and "Traceback" not in err
    code, _, err = run("-o", tmp_path / "m")
    assert code == 2 and "DATASET" in err
    code, _, err = run(work / "pairs", "-o", tmp_path / "m", "--base", tmp_path / "no-model")
    assert code == 5 and "Traceback" not in err


def test_a_control_net_is_trained_and_the_command_that_uses_it_is_named(work, tmp_path):
    code, out, err = run(work / "pairs", *short(work, tmp_path / "n"), "--control", "canny")
    assert code == 0, err
    assert "controlnet for canny, 8 pairs" in out and f"--control canny:{tmp_path / 'n'}" in out
    assert json.loads((tmp_path / "n/config.json").read_text())["_class_name"] == "ControlNetModel"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--control-type", "t2i-adapter"], "--control-type needs --control"),
        (["--control-guidance", "4"], "--control-guidance needs --control"),
        (["--control", "canny", "--lora-rank", "4"], "--lora-rank has no effect"),
        (["--control", "sky"], "'sky' is no kind of hints"),
        (["--control", "canny", "--control-guidance", "0"], "max_guidance_scale is 0"),
    ],
)
def test_options_of_a_control_net_that_cannot_act_are_refused(work, tmp_path, options, reason):
    code, _, err = run(work / "pairs", *short(work, tmp_path / "n"), *options)
    assert code == 2 and reason in err and not (tmp_path / "n").exists()
