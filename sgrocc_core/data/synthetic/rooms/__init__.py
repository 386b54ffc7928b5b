"""Rooms: their shell, their openings, and what stands where."""
