"""A room of planes for the tests of the mapper: images and depth by intersecting rays with boxes, in closed form."""

import numpy as np

from sgrocc_core.frame import Frame
from sgrocc_core.geometry.poses import make_pose

ROOM = (np.array([-1.0, -2.0, 0.0]), np.array([3.6, 2.0, 2.6]))
TABLE = (np.array([1.6, -0.5, 0.0]), np.array([2.2, 0.5, 0.75]))
EYE = 1.5
"""Height of the camera above the floor, metres; the floor is z = 0."""
COLORS = np.array([(150, 120, 90), (230, 230, 230), (200, 190, 160), (120, 80, 40)], np.uint8)


def camera(x=0.0, y=0.0, yaw=0.0, pitch=0.25):
    """Pose at the eye's height; yaw about z, pitch downwards, radians."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    return make_pose(np.stack([right, np.cross(forward, right), forward], 1), np.array([x, y, EYE]))


def _slabs(origin, rays, box):
    """Entry and exit of rays (N, 3) through a box, in multiples of the ray."""
    with np.errstate(divide="ignore"):
        a, b = (box[0] - origin) / rays, (box[1] - origin) / rays
    return np.minimum(a, b).max(1), np.maximum(a, b).min(1)


def frame(T_wc, stamp_ns=0, size=(320, 240), with_depth=True, offset=(0.0, 0.0, 0.0)):
    """One frame of the room, the whole world moved by `offset` metres; depth exact, 0 on one strip of the image."""
    width, height = size
    f = 0.85 * width
    K = np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]])
    v, u = np.indices((height, width)).reshape(2, -1)
    rays = np.stack([(u - K[0, 2]) / f, (v - K[1, 2]) / f, np.ones(len(u))], 1) @ T_wc[:3, :3].T
    rays[np.abs(rays) < 1e-9] = 1e-9
    _, depth = _slabs(T_wc[:3, 3], rays, ROOM)
    enter, leave = _slabs(T_wc[:3, 3], rays, TABLE)
    table = (enter < leave) & (enter > 0)
    depth = np.where(table, enter, depth)
    point = T_wc[:3, 3] + rays * depth[:, None]
    kind = np.where(table, 3, np.where(point[:, 2] < 0.01, 0, np.where(point[:, 2] > 2.59, 1, 2)))
    shade = 0.75 + 0.25 * np.sin(7 * point.sum(1))
    image = (COLORS[kind] * shade[:, None]).astype(np.uint8).reshape(height, width, 3)
    depth = depth.reshape(height, width).astype(np.float32)
    depth[:, : width // 16] = 0.0
    moved = T_wc.copy()
    moved[:3, 3] += offset
    return Frame(image, K, moved, stamp_ns, depth if with_depth else None)


def walk(count=6):
    """Frames of a short walk along the room, each turned a little."""
    return [frame(camera(0.1 * n, 0.05 * n, 0.12 * (n - count / 2)), 100_000_000 * n) for n in range(count)]


def is_hidden(voxels):
    """Whether voxels (N, 3) lie inside the table or outside the room, by more than a voxel: where no depth reaches."""
    centres = (voxels + 0.5) * 0.08
    in_table = ((centres > TABLE[0] + [0.1, 0.1, -1]) & (centres < TABLE[1] - 0.1)).all(1)
    out_of_room = ((centres < ROOM[0] - 0.1) | (centres > ROOM[1] + 0.1)).any(1)
    return in_table | out_of_room
