"""Editors: InstructPix2Pix on torch and diffusers. The only package that imports torch, apart from training and evaluation."""
