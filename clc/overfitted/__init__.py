"""One small function overfitted to each picture, in the latents of an autoencoder: see `docs/overfitted.md`."""
