"""Furniture models from folders of 3D files: tables of what they are, meshes made solid, and a cache of both."""
