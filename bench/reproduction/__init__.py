"""Checks of what the paper claims: `subspace.py` is a command, beside the parts that it is made of."""
