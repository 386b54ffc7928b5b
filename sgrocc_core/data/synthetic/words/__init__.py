"""Rooms and words: captions of generated rooms, and rooms made from sentences."""
