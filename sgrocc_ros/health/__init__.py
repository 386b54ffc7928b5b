"""Counters, advice and /diagnostics."""
