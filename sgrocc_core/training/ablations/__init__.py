"""Ablations: variants trained with the same seeds and data, with tables and charts of their figures."""
