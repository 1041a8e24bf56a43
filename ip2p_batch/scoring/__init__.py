"""How steady an edited video is, and how true to its source and its instruction."""
