"""Temporal consistency of finished frames: optical flow and filters, in numpy and OpenCV."""
