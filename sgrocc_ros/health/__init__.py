"""Counts, advice and /diagnostics."""
