"""Engines that run the exported networks."""
