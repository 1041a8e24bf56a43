"""One chunk, from its message to its receipt; then assembly."""
