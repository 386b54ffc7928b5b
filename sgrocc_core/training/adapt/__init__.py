"""Adaptation of a model to a recording without labels: `sgrocc adapt`."""
