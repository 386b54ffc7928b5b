"""From Gaussians to voxels: splatting, the sparse voxel map, its columns seen from above, and queries."""
