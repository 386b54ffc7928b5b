"""The network of the local box: lifting, lattice encoder, refinement along the ray, fusion with the history."""
