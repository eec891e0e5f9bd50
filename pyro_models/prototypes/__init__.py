"""Categorical prototypes: every image is one of K pictures, plain (D-VAE) or spatially transformed (D-VAE-ST)."""
