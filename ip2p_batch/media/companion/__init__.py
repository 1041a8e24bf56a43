"""Companions: a user's own video, image sequence, folder or image with an image for each frame.

Planning compares them with the source (``match.py`` for videos, ``items.py`` for images); execution
reads their images by the numbers of the source's frames or by item (``reader.py``).
"""
