"""The Gaussians of the map: their form, their memory, the confidence in them."""
