"""Timings: `sgrocc bench`."""
