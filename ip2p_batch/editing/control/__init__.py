"""Control nets: ControlNets and T2I-Adapters that hold the structure of the source.

A ControlNet (Zhang, Rao, Agrawala, ICCV 2023, arXiv 2302.05543) is a copy of a UNet's first half
that sees the same noisy latents and a hint, such as the edges of the source. What it computes, its
*residuals*, is added to the UNet's skips and middle block, in every step. A T2I-Adapter (Mou et
al., AAAI 2024, arXiv 2302.08453) sees the hint alone, so its *features* are computed once for each
frame. They are added to the UNet's down blocks.

InstructPix2Pix's UNet sees the latents of the source next to the noisy ones. A ControlNet sees the
noisy ones alone, so that the nets of the base model fit.
"""
