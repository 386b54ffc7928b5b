"""Furniture and what lies on it."""
