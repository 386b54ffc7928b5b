"""The networks of the spatial expert, in PyTorch; never imported by the mapper or the node."""
