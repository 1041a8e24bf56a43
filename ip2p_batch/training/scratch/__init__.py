"""Building the bundled model from photographs: crops, autoencoder, tokenizer, text encoder, UNet.

``training/tiny.toml`` of the repository says with which sizes and for how many steps.
"""
