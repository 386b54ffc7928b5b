"""Generator of furnished rooms: geometry, images, depth, 2D labels and exact voxel labels."""
