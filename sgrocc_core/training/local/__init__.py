"""Training of the local model on single views: the image engine and the spatial expert."""
