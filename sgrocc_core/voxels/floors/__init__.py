"""The floor of a map seen from above, on one level or several."""
