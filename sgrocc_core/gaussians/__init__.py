"""The Gaussians of the map: their parameters, the memory that holds them, and the confidence in them."""
