"""Video: probe, read, encode, concatenate."""
