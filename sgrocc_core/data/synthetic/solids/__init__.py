"""What the things of a room are made of: solids, models, materials and the list of pieces."""
