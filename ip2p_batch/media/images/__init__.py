"""Images: formats, colour, metadata, listing."""
