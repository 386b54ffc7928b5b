"""Outputs of the node: the map, its changes, markers, the grid and the views."""
