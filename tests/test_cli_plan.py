"""A dry run on real media: prints the plan, writes nothing, loads no model."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil
from typer.testing import CliRunner

from ip2p_batch.cli import demo
from ip2p_batch.cli.app import app
from ip2p_batch.editing import loading, precision
from ip2p_batch.models.catalog import BUNDLED
from ip2p_batch.models.edit_sizes import EDIT_SIZES_FILE
from ip2p_batch.planning.memory import memory
from ip2p_batch.recipe import Recipe

CLIP = demo.FOLDER / "clip.mp4"


def run(*arguments):
    return CliRunner().invoke(app, ["plan", *map(str, arguments)])


@pytest.fixture
def catalog(tmp_path):
    folder = tmp_path / "catalog"
    folder.mkdir()
    for name, size in [("a.png", (96, 64)), ("b.jpg", (64, 96))]:
        Pil.fromarray(np.zeros((*size[::-1], 3), np.uint8)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"not an image")
    return folder


def test_a_plan_of_a_video_shows_shots_chunks_waves_sizes_and_memory(tmp_path):
    done = run(CLIP, "-m", "tiny", "-o", tmp_path / "out.mp4")
    assert done.exit_code == 0, done.output
    expected = [
        "640x360",
        "96 frames at 256x144 (auto), detail from the source",
        "shots",
        "[0, ",
        "wave 1:",
        "wave 2:",
        "memory",
    ]
    for part in [*expected, "MiB", "audio", "out.mp4", "10 steps"]:
        assert part in done.stdout, part
    assert not list(tmp_path.iterdir())


def test_a_plan_shows_the_mask_and_how_many_frames_it_leaves_out(tmp_path):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("start,end,x,y,width,height\n0,1,10,10,100,100\n")
    done = run(CLIP, "-m", "tiny", "--mask", f"boxes:{boxes}", "--mask-grow", "3", "--mask-invert")
    assert done.exit_code == 0, done.output
    shown = " ".join(done.output.split())
    assert f"mask all but boxes:{boxes}, +3 pixels, soft edge auto" in shown
    assert "of 96 frames lie outside of the times of the boxes; all of them may change" in shown


def test_a_plan_as_json_is_one_object_with_the_whole_plan(tmp_path):
    done = run(CLIP, "make it snow", "--start", "1", "--end", "0:02", "--json")
    assert done.exit_code == 0, done.output
    plan = json.loads(done.stdout)
    assert plan["job"]["recipe"]["instruction"] == "make it snow"
    start, stop = plan["job"]["source"]["start"], plan["job"]["source"]["stop"]
    assert plan["frames"] == stop - start
    frames = [n for c in plan["plan"]["chunks"] if c["kind"] == "video"
              for n in range(c["start"], c["stop"])]  # fmt: skip
    assert frames == list(range(start, stop))
    assert plan["waves"] == 2
    assert plan["memory"][0]["weights"] > 2e9
    assert plan["edit"] == {
        "width": 512, "height": 288, "one_size": True, "auto": True, "detail": "source",
    }  # fmt: skip
    assert plan["job"]["size_table"] == [[4096, 512]] and plan["hints"] == []


def test_a_plan_of_a_folder_names_excluded_images_and_the_reasons(catalog, tmp_path):
    done = run(catalog, "make it snow", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "2 images" in done.stdout
    assert "broken.jpg" in done.stdout
    assert "1 of 3 images cannot be edited" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_plan_of_images_counts_them_by_edit_size(catalog, tmp_path):
    table = {
        "training_size": 256,
        "sizes": [{"up_to": 80, "edit_size": 64}, {"up_to": 90, "edit_size": 128}],
    }
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / EDIT_SIZES_FILE).write_text(json.dumps(table))
    Pil.fromarray(np.zeros((50, 80, 3), np.uint8)).save(catalog / "c.png")
    done = run(catalog, "make it snow", "-m", tmp_path / "model")
    assert done.exit_code == 0, done.output
    assert "edit      3 images at up to 128 px (auto), detail from the source\n" in done.stdout
    assert "          1 image at 64 px, 2 images at 128 px\n" in done.stdout
    assert "model has no weights\n" in done.stdout


def test_the_identity_model_needs_no_memory_of_its_own(catalog):
    done = run(catalog / "a.png", "copy", "-m", "identity", "-n", "1")
    assert "memory    little: the identity model copies frames\n" in done.stdout
    assert "1 step," in done.stdout


def test_a_size_above_the_training_size_gets_a_hint(catalog, tmp_path):
    hint = "--size 257 is above the model's training size (256 px): edits may get worse."
    assert f"hint      {hint}" in run(catalog, "x", "-m", "tiny", "--size", 257).stdout
    (line,) = json.loads(run(catalog, "x", "-m", "tiny", "--size", 257, "--json").stdout)["hints"]
    assert line.startswith(hint)
    for size in ("256", "auto"):
        assert "hint" not in run(catalog, "x", "-m", "tiny", "--size", size).stdout
    (tmp_path / EDIT_SIZES_FILE).write_text("{")
    done = run(catalog, "x", "-m", tmp_path, "--size", 1024)
    assert done.exit_code == 0 and "hint" not in done.stdout, "an explicit size needs no table"


def test_a_plan_states_where_carryover_starts_or_that_few_steps_turn_it_off():
    ten = run(CLIP, "x", "-m", "tiny").stdout
    assert "carryover 0.7 (from step 7)" in ten and "hint" not in ten
    two = run(CLIP, "x", "-m", "tiny", "-n", "2").stdout
    assert "carryover off" in two
    assert "hint      Carryover is off: of 2 steps, frames would inherit one at most." in two
    assert "wave 1: " in two and "wave 2: " not in two
    off = run(CLIP, "x", "-m", "tiny", "--carryover", "0").stdout
    assert "carryover 0," in off and "hint" not in off


def test_scales_that_do_not_fit_a_distilled_lora_get_a_hint():
    few = ("--scheduler", "lcm", "-n", "4")
    lora = (*few, "--lora", "latent-consistency/lcm-lora-sdv1-5")
    hint = "hint      LoRAs for --scheduler lcm are made for --image-guidance-scale 1 and"
    assert hint in run(CLIP, "x", *lora).stdout
    fitting = run(CLIP, "x", *lora, "-g", "2", "-i", "1")
    assert fitting.exit_code == 0 and "hint" not in fitting.stdout
    assert "hint" not in run(CLIP, "x", *few).stdout


def test_a_panorama_gets_a_hint(tmp_path):
    Pil.new("RGB", (1600, 40)).save(tmp_path / "panorama.png")
    done = run(tmp_path / "panorama.png", "x", "-m", "tiny", "--size", 192)
    assert "hint      1 image so long and narrow that the edit has a side of 8 px." in done.stdout
    done = run(tmp_path / "panorama.png", "x", "-m", "identity", "--size", 1600)
    assert "narrow" not in done.stdout


def test_a_plan_loads_neither_torch_nor_celery(tmp_path):
    code = (
        "import sys, atexit\n"
        "heavy = ['torch', 'diffusers', 'transformers', 'celery', 'redis']\n"
        "atexit.register(lambda: print('LOADED', [m for m in heavy if m in sys.modules]))\n"
        f"sys.argv = ['ip2p-batch', 'plan', {str(CLIP)!r}]\n"
        "from ip2p_batch.cli.app import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-1] == "LOADED []", done.stderr
    assert done.returncode == 0


def test_options_that_do_not_apply_to_the_source_are_errors(catalog, tmp_path):
    assert run(catalog, "x", "--start", "1").exit_code == 2
    assert run(CLIP, "x", "--format", "png").exit_code == 2
    assert run(tmp_path / "nowhere").exit_code == 3


def test_a_plan_shows_the_cost_of_the_tile_pass(tmp_path):
    options = (CLIP, "-m", "tiny", "-o", tmp_path / "o.mp4", "--detail", "tiles", "--size", "256")
    shown = run(*options).stdout
    assert "6 tiles of 256x256 pixels for each frame, 8 of 10 steps each" in shown
    assert "about 9 times the work of the edit itself" in shown  # 6 * 256 / 144 * 0.8
    plan = json.loads(run(*options, "--json").stdout)
    assert plan["tiles"] == [6]
    assert json.loads(run(CLIP, "-m", "tiny", "--json").stdout)["tiles"] == []
    recipe = Recipe(instruction="", model="tiny", image_guidance_scale=1.2)
    tile = memory(recipe, 256, 256, gpu=True)
    assert plan["memory"][0]["frame"] == tile.frame, "a tile is larger than a frame"


def test_the_tiles_of_images_are_a_range(catalog, tmp_path):
    Pil.fromarray(np.zeros((500, 500, 3), np.uint8)).save(catalog / "c.png")
    options = ("-o", tmp_path / "o", "--detail", "tiles", "--size", "256")
    shown = run(catalog, "-m", "tiny", *options).stdout
    assert "1 to 9 tiles of 256x256 pixels for each image" in shown
    assert "up to 7 times the work" in shown


def test_memory_is_estimated_from_the_models_files_and_grows_with_the_frame():
    recipe = Recipe(instruction="", model="tiny")
    small, large = (memory(recipe, s, s, gpu=True) for s in (256, 512))
    files = sum(p.stat().st_size for p in Path(BUNDLED["tiny"]).glob("*/*.safetensors"))
    # The files hold float16 or float32 numbers and a header.
    assert files / 2.1 <= small.weights <= files * 1.05
    assert large.frame == pytest.approx(4 * small.frame)
    in_float32 = Recipe(instruction="", model="tiny", dtype="float32")
    assert memory(in_float32, 256, 256, gpu=False).weights == 2 * small.weights
    assert memory(Recipe(instruction="", model="who/knows"), 512, 512, gpu=True) is None
    assert 2e9 < memory(Recipe(instruction=""), 512, 512, gpu=True).weights < 2.3e9


def test_a_damaged_model_file_has_no_estimate(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "a.safetensors").write_bytes(b"\x00")
    assert memory(Recipe(instruction="", model=str(tmp_path)), 64, 64, gpu=True) is None


def test_auto_means_the_precision_that_the_editor_loads_with():
    loaded = loading.load_editor("tiny", device="cpu", dtype="auto")
    estimated = memory(Recipe(instruction="", model="tiny"), 64, 64, gpu=False)
    assert loaded.compute_profile.dtype == estimated.dtype


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512_bf16 sse", True), ("amx_bf16", True), ("fpu avx512f bf16", False)],
)
def test_a_cpu_computes_in_bfloat16_whose_flags_list_it(tmp_path, flags, expected):
    info = tmp_path / "cpuinfo"
    info.write_text(f"vendor_id\t: GenuineIntel\nflags\t\t: {flags}\n")
    assert precision.computes_in_bfloat16(info) == expected


def test_a_system_that_lists_no_flags_computes_in_float32(tmp_path):
    assert not precision.computes_in_bfloat16(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("options", "branches"),
    [
        ({}, 3),
        ({"image_guidance_scale": 1.0}, 2),
        ({"guidance_scale": 1.5, "image_guidance_scale": 1.5}, 2),
        ({"guidance_scale": 1.0}, 1),
        ({"guidance_interval": (0.0, 0.0)}, 1),
    ],
)
def test_the_estimate_counts_the_branches_that_the_editor_runs(options, branches):
    recipe = Recipe(instruction="", model="tiny", dtype="float32", **options)
    # Bytes of a float32 pixel: 44 maps of 48 channels at a quarter of each side, for each branch
    # of the UNet; 4 maps of 64 channels for the VAE, where that is more.
    each = max(branches * 44 * 48 / 16, 4 * 64) * 4
    assert memory(recipe, 256, 256, gpu=False).frame == 256 * 256 * each
