"""p(y): from hyper-latents and references to the mean and the scale of every latent, exactly."""
