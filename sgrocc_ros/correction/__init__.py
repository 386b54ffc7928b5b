"""Maps that survive a correction of the past: keyframes are kept, and the map is built again from them."""
