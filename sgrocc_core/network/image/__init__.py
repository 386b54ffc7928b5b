"""Networks that read one image: features, depth, spread and thickness."""
