"""A generator of furnished rooms: geometry, images, depth, labels and exact voxels."""
