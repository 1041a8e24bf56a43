"""TIFF files, which Pillow decodes in part only: pages, samples, colours."""
