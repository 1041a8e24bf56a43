"""Optical flow, and temporal filters for finished frames, in numpy and OpenCV."""
