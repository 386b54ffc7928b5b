"""Images and occupancy of rooms from words: a latent diffusion model and the spatial expert, trained together (OccScene)."""
