"""Latent codes that gather around anchors: the plain VAE, the mixture VAE, and the nebula with its relatives."""
