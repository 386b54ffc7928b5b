"""Splatting Gaussians to voxels: the equations, a reference, kernels for CPUs and the gradients."""
