"""New control nets for an edit model: a ControlNet or a T2I-Adapter.

Zhang, Rao and Agrawala, "Adding Conditional Control to Text-to-Image Diffusion Models", ICCV 2023
(https://arxiv.org/abs/2302.05543), and Mou et al., "T2I-Adapter", AAAI 2024
(https://arxiv.org/abs/2302.08453). Both change nothing before their first training step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, T2IAdapter

from ..errors import ModelError
from ..models.control_nets import CONFIG, WEIGHTS, NetType
from .saving import reporting_write_errors, share

#: Channels of the hint's embedding, from fine to coarse, before the UNet's own: as many as a VAE
#: factor of 8 needs. Smaller factors take the last ones.
_HINT_CHANNELS = (16, 32, 96, 256)
#: The fields of a UNet's configuration that a ControlNet has, too.
_SHARED = (
    "flip_sin_to_cos", "freq_shift", "down_block_types", "only_cross_attention",
    "block_out_channels", "downsample_padding", "mid_block_scale_factor", "act_fn",
    "norm_num_groups", "norm_eps", "cross_attention_dim", "transformer_layers_per_block",
    "attention_head_dim", "num_attention_heads", "use_linear_projection", "addition_embed_type",
    "addition_time_embed_dim", "upcast_attention", "resnet_time_scale_shift",
    "projection_class_embeddings_input_dim", "mid_block_type", "addition_embed_type_num_heads",
)  # fmt: skip


def new_net(net_type: NetType, unet: Any, factor: int) -> Any:
    """Return an untrained net that changes nothing yet, in float32.

    Args:
        net_type: ``controlnet`` or ``t2i-adapter``.
        unet: the edit model's UNet.
        factor: pixels of an image for each element of the latents, along each axis.

    Raises:
        ModelError: no such net can be built for this UNet.
    """
    return new_controlnet(unet, factor) if net_type == "controlnet" else new_adapter(unet, factor)


def new_controlnet(unet: Any, factor: int) -> Any:
    """Return a ControlNet whose encoder is a copy of the UNet's, and whose outputs are zero.

    It sees the noisy latents only, half of what the UNet of an edit model sees, so the weights of
    the first convolution are copied for these channels. (diffusers' ``from_unet`` would copy all.)

    Raises:
        ModelError: as :func:`new_net`.
    """
    config = unet.config
    layers = _uniform(config.layers_per_block)
    channels = int(config.out_channels)
    try:
        net = ControlNetModel(
            in_channels=channels,
            layers_per_block=layers,
            conditioning_embedding_out_channels=_hint_channels(factor),
            **{name: config[name] for name in _SHARED if config.get(name) is not None},
        )
        for part in ("time_embedding", "add_embedding", "down_blocks", "mid_block"):
            if getattr(unet, part, None) is not None:
                getattr(net, part).load_state_dict(getattr(unet, part).state_dict())
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"No ControlNet can be made from this model's UNet: {reason}") from None
    with torch.no_grad():
        net.conv_in.weight.copy_(unet.conv_in.weight[:, :channels])
        net.conv_in.bias.copy_(unet.conv_in.bias)
    return net.float().requires_grad_(requires_grad=True)


def _hint_channels(factor: int) -> tuple[int, ...]:
    """One entry more than halvings of the sides.

    >>> _hint_channels(8), _hint_channels(4)
    ((16, 32, 96, 256), (16, 32, 96))
    """
    halvings = factor.bit_length() - 1
    if factor != 1 << halvings or halvings >= len(_HINT_CHANNELS):
        raise ModelError(f"The model's latents are {factor} times smaller than the image; a"
                         " ControlNet can be made for 1, 2, 4 and 8.")  # fmt: skip
    return _HINT_CHANNELS[: halvings + 1]


def _uniform(layers: Any) -> int:
    counts = {int(n) for n in layers} if isinstance(layers, list | tuple) else {int(layers)}
    if len(counts) > 1:
        raise ModelError(
            "No ControlNet can be made from this model's UNet: its blocks have different numbers"
            " of layers."
        )
    return counts.pop()


def new_adapter(unet: Any, factor: int) -> Any:
    """Return a T2I-Adapter whose features are zero, one for each down block of the UNet.

    It is a full adapter with two residual blocks at each resolution. The first convolution and all
    biases are zero; the gradient of the first convolution is not.
    """
    net = T2IAdapter(
        in_channels=3,
        channels=list(unet.config.block_out_channels),
        num_res_blocks=2,
        downscale_factor=factor,
        adapter_type="full_adapter",
    )
    with torch.no_grad():
        net.adapter.conv_in.weight.zero_()
        for name, parameter in net.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    return net.float()


def save_net(net: Any, folder: Path) -> None:
    """Write ``config.json`` and float16 safetensors weights; ``net`` is not changed.

    Raises:
        OutputError: the folder cannot be written.
    """
    from safetensors.torch import save_file

    weights = folder / WEIGHTS[0]
    partial = folder / f".{weights.name}"
    with reporting_write_errors(folder, "control net"):
        net.save_config(folder)
        save_file(
            {name: value.half().contiguous().cpu() for name, value in net.state_dict().items()},
            partial,
            metadata={"format": "pt"},
        )
        share([partial], folder / CONFIG)
        partial.replace(weights)
