"""Avoid a bfloat16 convolution kernel of oneDNN that gives wrong results.

On CPUs with AMX, oneDNN (as shipped in torch 2.13) computes a bfloat16 convolution with stride 2
wrongly if its output is one column wide: the result contains uninitialised memory and differs from
call to call. A similar error, an underestimated buffer, was fixed in uxlfoundation/oneDNN#5494. The
last downsampling layer of Stable Diffusion's UNet has such an output for images that are up to
64 pixels wide.
"""

from __future__ import annotations

import torch

Tensor = torch.Tensor


class NarrowSafeConv2d(torch.nn.Conv2d):
    """A strided convolution that computes one column wide bfloat16 outputs in float32."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.dtype is not torch.bfloat16 or self._output_width(input.shape[-1]) > 1:
            output: Tensor = super()._conv_forward(input, weight, bias)
            return output
        wide_bias = None if bias is None else bias.float()
        exact: Tensor = super()._conv_forward(input.float(), weight.float(), wide_bias)
        return exact.to(input.dtype)

    def _output_width(self, width: int) -> int:
        padding = 0 if isinstance(self.padding, str) else self.padding[1]
        reach = self.dilation[1] * (self.kernel_size[1] - 1) + 1
        return (width + 2 * padding - reach) // self.stride[1] + 1


def install(model: torch.nn.Module) -> None:
    """Make all strided 2D convolutions of ``model`` safe; weights and parameter names stay."""
    for module in model.modules():
        if type(module) is torch.nn.Conv2d and module.stride[1] > 1:
            module.__class__ = NarrowSafeConv2d
