"""Metrics and evaluations of single views, of maps of scenes and of scenes that change."""
