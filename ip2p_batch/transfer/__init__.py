"""Apply a small edit to the full-size source, so that the result has the source's detail."""
