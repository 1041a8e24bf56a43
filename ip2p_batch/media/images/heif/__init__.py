"""HEIC and AVIF files: boxes, frames, geometry."""
