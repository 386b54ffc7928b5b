"""Cameras, poses, coordinate frames and the lattice of cells and voxels."""
