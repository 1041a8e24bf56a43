"""Merged weights: equal to diffusers' and peft's own, exact at weight 0, summed for several."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict

from ip2p_batch.editing.lora.keys import read_key
from ip2p_batch.editing.lora.merge import merge_loras, weight_change
from ip2p_batch.editing.lora.modules import original_names
from ip2p_batch.errors import ModelError
from ip2p_batch.recipe_parts import Lora

from .lora_files import ATTENTION, LCM_TARGETS, dotted, factors, kohya, processors, save
from .tiny_pipelines import pipeline
from .tiny_xl import pipeline_xl

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
_TEXT_TARGETS = ("q_proj", "out_proj", "fc1")


@pytest.fixture(scope="module")
def clean():
    return pipeline()


@pytest.fixture
def pipe(clean):
    """A pipeline that the test may change."""
    clean = copy.copy(clean)
    clean.register_modules(
        unet=copy.deepcopy(clean.unet), text_encoder=copy.deepcopy(clean.text_encoder)
    )
    return clean


def weights(pipe):
    return {
        f"{part}.{name}": value.clone()
        for part in ("unet", "text_encoder")
        for name, value in getattr(pipe, part).state_dict().items()
    }


def merged(pipe, *loras):
    changed = copy.copy(pipe)
    changed.register_modules(
        unet=copy.deepcopy(pipe.unet), text_encoder=copy.deepcopy(pipe.text_encoder)
    )
    merge_loras(changed, [Lora(model=str(path), weight=weight) for path, weight in loras])
    return weights(changed)


def largest_difference(one, other):
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


def changed(one, other):
    return {name for name in one if not torch.equal(one[name], other[name])}


def all_formats(pipe):
    unet, text = factors(pipe.unet, LCM_TARGETS), factors(pipe.text_encoder, _TEXT_TARGETS, seed=1)
    attention = factors(pipe.unet)
    old = (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight")
    with_level = {f"text_model.{module}": matrices for module, matrices in text.items()}
    return {
        "kohya": kohya(unet, alpha=5) | kohya(with_level, alpha=2, start="lora_te_"),
        "kohya without alpha": kohya(unet),
        "peft": dotted(unet) | dotted(text, "text_encoder."),
        "peft, text encoder as before transformers 5": dotted(with_level, "text_encoder."),
        "diffusers": dotted(attention, ends=(".lora.down.weight", ".lora.up.weight")),
        "diffusers, text encoder": dotted(text, "text_encoder.", old),
        "attention processors": processors(attention),
    }


@pytest.mark.parametrize("name", sorted(all_formats(pipeline())))
def test_every_format_is_merged_as_diffusers_merges_it(pipe, tmp_path, name):
    tensors = all_formats(pipe)[name]
    path = save(tmp_path / "a.safetensors", tensors)
    before, ours = weights(pipe), merged(pipe, (path, 0.7))
    modules = [n for n in tensors if read_key(n).role == "down"]
    assert len(changed(before, ours)) == len(modules) > 0
    pipe.load_lora_weights(str(path))
    pipe.fuse_lora(lora_scale=0.7)
    pipe.unload_lora_weights()
    assert largest_difference(ours, weights(pipe)) < 1e-6


@pytest.mark.parametrize("name", sorted(all_formats(pipeline())))
def test_every_format_means_the_same_matrices(pipe, tmp_path, name):
    tensors = all_formats(pipe)[name]
    ours = merged(pipe, (save(tmp_path / "a.safetensors", tensors), 0.7))
    found = {("unet", m): f for m, f in factors(pipe.unet, LCM_TARGETS).items()}
    if name not in ("kohya", "kohya without alpha", "peft"):
        found = {("unet", m): f for m, f in factors(pipe.unet).items()}
    text = factors(pipe.text_encoder, _TEXT_TARGETS, seed=1)
    found |= {("text_encoder", m): f for m, f in text.items()}
    before = weights(pipe)
    for (part, module), (down, up) in found.items():
        weight = f"{part}.{module}.weight"
        alpha = {"kohya": {"unet": 5, "text_encoder": 2}[part]}.get(name, 3)
        delta = torch.einsum("or,ri->oi", up.flatten(1), down.flatten(1)) * 0.7 * alpha / 3
        if torch.equal(ours[weight], before[weight]):
            assert not any(module.replace(".", "_") in n.replace(".", "_") for n in tensors)
            continue
        expected = before[weight] + delta.reshape(before[weight].shape)
        assert (ours[weight] - expected).abs().max() < 1e-6


@pytest.mark.parametrize(
    "options",
    [
        {"lora_alpha": 8},
        {"lora_alpha": 8, "use_rslora": True},
        {"lora_alpha": 8, "alpha_pattern": {"mid_block.resnets.0.conv1": 2, "to_q": 16}},
        {"lora_alpha": 4, "rank_pattern": {"to_k": 2}},
    ],
    ids=lambda options: ", ".join(options),
)
def test_a_folder_of_peft_is_merged_as_peft_merges_it(pipe, tmp_path, options):
    before = weights(pipe)
    config = LoraConfig(
        r=4, init_lora_weights=False, target_modules=[*ATTENTION, "conv1", "proj_in"], **options
    )
    original = copy.deepcopy(pipe.unet)
    model = get_peft_model(pipe.unet, config)
    model.save_pretrained(tmp_path / "peft")
    reference = {f"unet.{k}": v for k, v in model.merge_and_unload().state_dict().items()}
    pipe.register_modules(unet=original)
    ours = merged(pipe, (tmp_path / "peft", 1.0))
    ours_unet = {k: v for k, v in ours.items() if k in reference}
    assert largest_difference(ours_unet, reference) < 1e-6
    assert len(changed(before, ours)) > 20


def test_the_alpha_that_diffusers_writes_into_the_metadata_counts(pipe, tmp_path):
    original = copy.deepcopy(pipe.unet)
    config = LoraConfig(r=4, lora_alpha=12, init_lora_weights=False, target_modules=["to_q"])
    pipe.unet.add_adapter(config)
    pipe.save_lora_weights(
        tmp_path,
        unet_lora_layers=get_peft_model_state_dict(pipe.unet),
        unet_lora_adapter_metadata=config.to_dict(),
    )
    pipe.unet.fuse_lora()
    pipe.unet.unload_lora()
    expected = weights(pipe)
    pipe.register_modules(unet=original)
    assert largest_difference(merged(pipe, (tmp_path, 1.0)), expected) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weight_0_changes_no_bit(pipe, tmp_path, dtype):
    path = save(tmp_path / "a.safetensors", dotted(factors(pipe.unet, LCM_TARGETS)))
    pipe.unet.to(dtype)
    assert changed(weights(pipe), merged(pipe, (path, 0.0))) == set()
    assert changed(weights(pipe), merged(pipe, (path, 0.5))) != set()


def test_two_loras_add_and_their_sum_is_rounded_once(pipe, tmp_path):
    pipe.unet.to(torch.bfloat16)
    one, two = (factors(pipe.unet, ("to_q",), seed=seed) for seed in (1, 2))
    paths = [
        save(tmp_path / "1.safetensors", dotted(one)),
        save(tmp_path / "2.safetensors", kohya(two, alpha=6)),
    ]
    before = weights(pipe)
    ours = merged(pipe, (paths[0], 0.25), (paths[1], -1.5))
    for module, (down, up) in one.items():
        weight = before[f"unet.{module}.weight"].float()
        down_2, up_2 = two[module]
        change = weight_change(down, up, 0.25) + weight_change(down_2, up_2, -1.5 * 6 / 3)
        exact = weight + change
        assert torch.equal(ours[f"unet.{module}.weight"], exact.to(torch.bfloat16))


def test_a_lora_for_1x1_convolutions_fits_linear_projections(pipe, tmp_path):
    """Stable Diffusion 1 has convolutions as proj_in, Stable Diffusion 2 linear layers."""
    found = factors(pipe.unet, ("proj_in",))
    assert all(down.dim() == 4 for down, _ in found.values())
    flat = {module: tuple(m.flatten(1) for m in matrices) for module, matrices in found.items()}
    paths = [save(tmp_path / f"{n}.safetensors", dotted(f)) for n, f in enumerate((found, flat))]
    assert changed(*(merged(pipe, (path, 1.0)) for path in paths)) == set()


def test_a_lora_for_sdxl_changes_its_unet_and_both_text_encoders(tmp_path):
    """Kohya's names of SDXL are those of the original implementation."""
    pipes = [pipeline_xl(), pipeline_xl()]
    found = {
        part: factors(getattr(pipes[0], part), targets)
        for part, targets in [
            ("unet", LCM_TARGETS), ("text_encoder", ("q_proj",)), ("text_encoder_2", ("fc1",)),
        ]
    }  # fmt: skip
    original = {original_names(m, 1)[0]: f for m, f in found["unet"].items()}
    assert not set(original) & set(found["unet"])
    texts = [
        {f"text_model.{m.removeprefix('text_model.')}": f for m, f in found[part].items()}
        for part in ("text_encoder", "text_encoder_2")
    ]
    tensors = [
        kohya(original) | kohya(texts[0], start="lora_te1_") | kohya(texts[1], start="lora_te2_"),
        {k: v for part in found for k, v in dotted(found[part], f"{part}.").items()},
    ]
    for number, pipe in enumerate(pipes):
        path = save(tmp_path / f"{number}.safetensors", tensors[number])
        merge_loras(pipe, [Lora(model=str(path), weight=0.5)])
    stock = pipeline_xl()
    before = {part: copy.deepcopy(getattr(stock, part).state_dict()) for part in found}
    unet_only = save(tmp_path / "unet.safetensors", dotted(found["unet"]))
    stock.load_lora_weights(str(unet_only))
    stock.fuse_lora(lora_scale=0.5)
    stock.unload_lora_weights()
    for part in found:
        one, other = (getattr(pipe, part).state_dict() for pipe in pipes)
        assert changed(one, other) == set()
        assert len(changed(one, before[part])) == len(found[part])
    assert largest_difference(pipes[0].unet.state_dict(), stock.unet.state_dict()) < 1e-6


def test_values_that_are_not_finite_are_refused_by_the_name_of_their_module(pipe, tmp_path):
    found = factors(pipe.unet, ("conv_out",))
    found["conv_out"][0][0, 0, 0, 0] = torch.nan
    path = save(tmp_path / "a.safetensors", dotted(found))
    with pytest.raises(ModelError, match=r"a\.safetensors holds values for conv_out that are not"):
        merged(pipe, (path, 1.0))
