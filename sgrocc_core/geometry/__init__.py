"""Cameras, poses and the lattice."""
