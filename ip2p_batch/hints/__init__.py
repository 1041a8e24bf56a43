"""Hints, what control nets see of a frame, in numpy and OpenCV."""
