"""The network: transforms, prior, gains, and what a training pass costs."""
