"""The ray-cast room as folders of people's own captures: TUM's layout, loose frames, JPEGs with an orientation."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

from sgrocc_core.geometry.poses import quaternion_from_rotation
from tests.samples.rooms import box_room

CAMERA_YAML = """image_width: {size[0]}
image_height: {size[1]}
camera_matrix: {{rows: 3, cols: 3, data: [{f}, 0, {c[0]}, 0, {f}, {c[1]}, 0, 0, 1]}}
distortion_model: plumb_bob
distortion_coefficients: {{rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}}
"""


def camera(size: tuple[int, int], focal: float) -> np.ndarray:
    return np.array([[focal, 0, size[0] / 2 - 0.5], [0, focal, size[1] / 2 - 0.5], [0, 0, 1]])


def write_camera_yaml(folder: Path, size: tuple[int, int], focal: float) -> None:
    centre = size[0] / 2 - 0.5, size[1] / 2 - 0.5
    (folder / "camera.yaml").write_text(CAMERA_YAML.format(size=size, f=focal, c=centre))


def write_tum_room(folder: Path, size: tuple[int, int], focal: float, count: int = 3) -> Path:
    """The ray-cast room in TUM's layout, ten images a second, without intrinsics."""
    lists: dict[str, list[str]] = {"rgb": [], "depth": [], "groundtruth": []}
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    for i, T_wc in enumerate(box_room.walk(count)):
        image, metres = box_room.look(T_wc, camera(size, focal), size)
        stamp = f"{1.7e9 + i / 10:.6f}"
        cv2.imwrite(str(folder / f"rgb/{stamp}.png"), image[:, :, ::-1])
        cv2.imwrite(str(folder / f"depth/{stamp}.png"), np.rint(metres * 5000).astype(np.uint16))
        for name in ("rgb", "depth"):
            lists[name].append(f"{stamp} {name}/{stamp}.png")
        values = (*T_wc[:3, 3], *quaternion_from_rotation(T_wc[:3, :3]))
        lists["groundtruth"].append(" ".join((stamp, *(f"{value:.7f}" for value in values))))
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


def write_room(folder: Path, axes: str = "opencv", depth: bool = True, count: int = 8) -> Path:
    """The ray-cast room as loose frames in a world with y up, with poses of a camera with other axes."""
    y_up = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    columns = {
        "opencv": lambda right, down, forward: (right, down, forward),
        "opengl": lambda right, down, forward: (right, -down, -forward),
        "ros": lambda right, down, forward: (forward, -right, -down),
    }
    (folder / "images").mkdir(parents=True)
    (folder / "depth").mkdir()
    poses = []
    for i, T_wc in enumerate(box_room.walk(count)):
        image, metres = box_room.look(T_wc)
        cv2.imwrite(str(folder / f"images/{i:04d}.jpg"), image[:, :, ::-1])
        if depth:
            cv2.imwrite(str(folder / f"depth/{i:04d}.png"), np.rint(metres * 1000).astype(np.uint16))
        rotation = np.stack(columns[axes](*T_wc[:3, :3].T), 1)
        poses.append(np.concatenate([y_up @ rotation, y_up @ T_wc[:3, 3:]], 1).ravel())
    np.savetxt(folder / "poses.txt", np.array(poses))
    np.savetxt(folder / "intrinsics.txt", box_room.K)
    return folder


def oriented(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG with an EXIF block that says how a viewer is to turn it."""
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", 8 + len(tiff)) + b"Exif\0\0" + tiff + jpeg[2:]
