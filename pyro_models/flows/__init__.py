"""Latent flows: sequences told as one code that is carried along by a few learned vector fields."""
