"""An editor's identity: equal where the bits are, another where they may be others."""

import shutil
import subprocess
import sys

import pytest
import torch

from ip2p_batch.editing import compute_profile
from ip2p_batch.editing.loading import load_editor
from ip2p_batch.editing.pix2pix import Pix2PixEditor
from ip2p_batch.models import catalog

from .tiny_pipelines import pipeline
from .worker_processes import worker_env


def digest(change=None, **options):
    pipe = pipeline(**options)
    if change is not None:
        with torch.no_grad():
            change(pipe)
    return compute_profile.digest(pipe.components)


def test_the_digest_does_not_depend_on_the_memory_layout():
    assert digest() == digest()
    assert digest() == digest(lambda pipe: pipe.unet.to(memory_format=torch.channels_last))


def scale(part, amount):
    def change(pipe):
        for weight in getattr(pipe, part).parameters():
            weight *= amount

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(scale(part, 1.01) for part in ("unet", "vae", "text_encoder")),
        lambda pipe: pipe.unet.conv_in.bias.add_(1),
        lambda pipe: pipe.unet.half(),
        lambda pipe: pipe.scheduler.register_to_config(beta_end=0.02),
        lambda pipe: pipe.vae.register_to_config(scaling_factor=0.2),
    ],
)
def test_other_weights_precision_or_configuration_have_another_digest(change):
    assert digest(change) != digest()


def test_the_place_of_a_model_does_not_matter(tmp_path):
    copy = shutil.copytree(catalog.BUNDLED["tiny"], tmp_path / "elsewhere")
    one, two = (load_editor(m, device="cpu", dtype="float32") for m in ("tiny", str(copy)))
    assert one.compute_profile == two.compute_profile
    assert len(one.compute_profile.model) == 16
    assert (one.compute_profile.dtype, one.compute_profile.threads) == ("float32", 1)
    assert one.compute_profile.device.startswith("cpu ")
    assert one.compute_profile.torch == torch.__version__


def test_precision_and_device_are_those_in_use():
    half = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.bfloat16).compute_profile
    full = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32).compute_profile
    assert (half.dtype, full.dtype) == ("bfloat16", "float32")
    assert half.device == full.device == compute_profile.cpu_kind()


def test_a_cpu_limited_to_older_instructions_is_another_kind(monkeypatch):
    kind = compute_profile.cpu_kind()
    code = "from ip2p_batch.editing.compute_profile import cpu_kind; print(cpu_kind(), end='')"
    older = subprocess.run(
        [sys.executable, "-c", code],
        env=worker_env("", ATEN_CPU_CAPABILITY="default"),
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert older.startswith("cpu ") and older != kind
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert compute_profile.cpu_kind() == f"{kind} ONEDNN_MAX_CPU_ISA=SSE41"
