"""Gaussians to voxels: local grids, the sparse voxel map, splatting."""
