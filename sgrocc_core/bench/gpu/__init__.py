"""`sgrocc bench gpu`: everything that needs an NVIDIA GPU, checked and timed in one command."""
