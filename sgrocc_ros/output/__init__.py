"""What the node publishes: the map, its changes, markers, the grid and the views."""
