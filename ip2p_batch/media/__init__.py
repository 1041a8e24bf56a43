"""Images and video on disk. The only package that imports PyAV and Pillow."""
