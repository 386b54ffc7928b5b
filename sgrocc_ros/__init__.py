"""The ROS 2 node and the bag player around `sgrocc_core`."""

NODE = "embodied_occupancy"
"""Name of the node and of its executable."""
