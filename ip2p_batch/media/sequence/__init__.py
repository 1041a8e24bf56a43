"""Image sequences as video: numbered image files that are the frames of one shot after another."""
