"""The tables of the paper, measured with this codec: the flows `ablate` and `perturb`, and the grid that they run."""
