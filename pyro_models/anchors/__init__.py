"""Latent codes that gather around anchors: the plain VAE, the mixture VAE and (to come) their nebula relatives."""
