"""Training data: packed scenes and walks, augmentation, and rooms rendered during training."""
