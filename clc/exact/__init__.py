"""Integer arithmetic carried in floating point: the same bits on every machine."""
