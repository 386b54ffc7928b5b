"""The mapper: a frame in, the changed voxels out."""
