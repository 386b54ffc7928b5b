"""Parameters of the node: what each is and may be, and the values that they have in a running node."""
