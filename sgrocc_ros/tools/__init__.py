"""Programs around the node: the bag player, the launch file, the demo and the benchmark."""
