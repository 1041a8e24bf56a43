"""Editors: InstructPix2Pix on torch and diffusers."""
