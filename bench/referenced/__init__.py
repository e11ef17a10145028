"""The parts of `bench/references.py`."""
