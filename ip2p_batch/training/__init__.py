"""Training: datasets of image pairs, the training loop, and fine-tuning."""
