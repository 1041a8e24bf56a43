"""Animated images (GIF, APNG, WebP): find their frames, compose them, and write new files."""
