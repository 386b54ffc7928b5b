"""Distances to the nearest obstacle: of points in space, and of the cells of the grid."""
