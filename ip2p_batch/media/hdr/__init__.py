"""High dynamic range: PQ and HLG samples to SDR and back."""
