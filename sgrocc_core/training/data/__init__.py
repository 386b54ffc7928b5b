"""Data that training reads: packed scenes, augmentation, sequences, rooms rendered during training."""
