"""Speed of the networks: runtimes and precisions, samples per anchor, and what the machine allows."""
