"""The ROS 2 node and the bag player around `sgrocc_core`."""
