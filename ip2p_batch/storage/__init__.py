"""Atomic, durable files and locks."""
