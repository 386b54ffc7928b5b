"""Rooms from words: a latent diffusion model and the spatial expert, trained together (OccScene)."""
