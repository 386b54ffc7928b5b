"""The OccLE network as a variant of the spatial expert: two branches on the lattice, joined by Dual Mamba."""
