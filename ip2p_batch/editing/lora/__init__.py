"""LoRAs: small changes of a model's weights in a file of their own, merged when it is loaded."""
