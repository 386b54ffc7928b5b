"""Inputs of the node: images, camera_info, depth and poses."""
