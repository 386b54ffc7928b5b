"""Ablations: variants trained on the same seeds and views, and their tables and charts."""
