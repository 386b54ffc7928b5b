"""Training, evaluation and ablations of the spatial expert and the temporal manager."""
