"""Training: paired data, the bundled model from scratch, and fine-tuning on a user's pairs."""
