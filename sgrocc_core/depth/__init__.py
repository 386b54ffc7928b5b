"""Depth of each pixel: prior, uncertainty, correction by the camera's motion, and registration."""
