"""Open vocabulary: a compressed language feature for every Gaussian, by which `find` ranks. Off unless asked for."""
