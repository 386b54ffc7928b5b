"""Readers and writers of data sets and bags, and the generator of rooms."""
