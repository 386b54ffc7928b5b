"""What enters the node: images, camera infos, depth and poses."""
