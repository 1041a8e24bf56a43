"""Masks: which pixels of a frame or image an edit may change. White may change."""
