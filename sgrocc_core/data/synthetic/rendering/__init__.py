"""Rooms as images, depth, labels and voxels."""
