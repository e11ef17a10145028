"""From pictures to weights: `python -m clc.training`, and `clc.training.train.train` for the flow."""
