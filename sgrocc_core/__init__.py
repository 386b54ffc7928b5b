"""Semantic 3D occupancy from one moving camera, without ROS: the mapper, its network, its data and its training."""

__version__ = "0.1.0"
