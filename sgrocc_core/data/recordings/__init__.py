"""Recordings in other formats, read frame by frame and written as bags."""
