"""Readers and writers of bags and data sets, and the generator of synthetic rooms."""
