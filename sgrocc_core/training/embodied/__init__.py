"""Training on walks through scenes, with the memory."""
