"""Loss terms of the voxels, of the image heads and of the Gaussians."""
