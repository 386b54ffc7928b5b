"""Held-out generated rooms, on which an adapted model must not be worse."""

from __future__ import annotations

from pathlib import Path

from sgrocc_core.progress import progress
from sgrocc_core.training.data.packed import packed_scenes, write_scene
from sgrocc_core.training.data.rendering import room_samples

ROOMS, FRAMES = 8, 6
"""Number of held-out rooms and of views of each; the first rooms of config/synth/heldout.yaml."""


def held_out_rooms(folder: Path, size: tuple[int, int], rooms: int = ROOMS, frames: int = FRAMES) -> Path:
    """Render held-out rooms, unless they are there.

    Args:
        folder: of packed scenes; created if necessary.
        size: (width, height) of the views, pixels.
        rooms: number of rooms.
        frames: views of each.

    Returns:
        the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    have = {scene.name for scene in packed_scenes(folder)}
    for number in progress(range(rooms), desc="held-out rooms", unit="room"):
        name = f"heldout0001_{number:05d}"
        if name not in have:
            write_scene(folder, name, room_samples("heldout", 1, number, name, frames, size, min_classes=8))
    return folder
