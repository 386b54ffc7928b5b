"""Language-aware priors (the paper's appendix D) as a variant of training; a map and a robot need nothing of it."""
