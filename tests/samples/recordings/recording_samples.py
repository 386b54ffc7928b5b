"""Small recordings in other people's formats, written for the tests: a level camera that walks along x before a slanted
wall."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

SIZE, DEPTH_SIZE = (64, 48), (40, 32)
K = np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]])
DEPTH_K = np.array([[36.0, 0, 19.0], [0, 38.0, 16.0], [0, 0, 1]])
LOOKING_ALONG_X = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], float)
LOST = np.full((4, 4), -np.inf)


def pose_at(i: int) -> np.ndarray:
    """Camera to a world with z up: at x = i / 10, 1.5 m up, turned by 3 degrees a frame."""
    a = np.deg2rad(3 * i)
    pose = np.eye(4)
    pose[:3, :3] = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ LOOKING_ALONG_X
    pose[:3, 3] = 0.1 * i, 0.2, 1.5
    return pose


def image_at(i: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W, 3) RGB: smooth, and of another red in each frame."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[:, :, 0], image[:, :, 1], image[:, :, 2] = 30 + 15 * (i % 12), 90, np.linspace(0, 255, size[0])
    return image


def wall_at(i: int, size: tuple[int, int], K: np.ndarray) -> np.ndarray:
    """(H, W) metres of a wall that is 2 + 0.1 i m ahead on the axis and comes nearer to the right: the plane z + 0.3 x
    = 2 + 0.1 i."""
    x = (np.arange(size[0]) - K[0, 2]) / K[0, 0]
    return np.tile((2 + 0.1 * i) / (1 + 0.3 * x), (size[1], 1))


def jpeg_at(i: int, size: tuple[int, int] = SIZE) -> bytes:
    """The image as a JPEG."""
    return cv2.imencode(".jpg", image_at(i, size)[:, :, ::-1])[1].tobytes()


def png16(metres: np.ndarray, units: float) -> bytes:
    """Depth as a 16 bit PNG."""
    return cv2.imencode(".png", np.rint(metres * units).astype(np.uint16))[1].tobytes()


@dataclass
class Sens:
    """What a .sens file holds; the defaults make a good one."""

    frames: int = 4
    version: int = 4
    name: bytes = b"StructureSensor"
    color_kind: int = 2
    depth_kind: int = 1
    size: tuple[int, int] = SIZE
    depth_size: tuple[int, int] = DEPTH_SIZE
    K: np.ndarray = field(default_factory=K.copy)
    depth_K: np.ndarray = field(default_factory=DEPTH_K.copy)
    depth_pose: np.ndarray = field(default_factory=lambda: np.eye(4))
    shift: float = 1000.0
    announced: int | None = None
    micros: list[int] | None = None
    poses: dict[int, np.ndarray] = field(default_factory=dict)  # other than pose_at, by frame
    colors: dict[int, bytes] = field(default_factory=dict)  # other than the image, by frame
    depths: dict[int, bytes] = field(default_factory=dict)
    lengths: dict[int, tuple[int, int]] = field(default_factory=dict)  # what a frame's header says of them, by frame

    def color(self, i: int) -> bytes:
        if i in self.colors:
            return self.colors[i]
        coded = {1: ".png", 2: ".jpg"}.get(self.color_kind)
        image = image_at(i, self.size)
        return cv2.imencode(coded, image[:, :, ::-1])[1].tobytes() if coded else image.tobytes()

    def depth(self, i: int) -> bytes:
        if i in self.depths:
            return self.depths[i]
        plain = np.rint(wall_at(i, self.depth_size, self.depth_K) * np.nan_to_num(self.shift)).astype("<u2").tobytes()
        return zlib.compress(plain) if self.depth_kind == 1 else plain

    def header(self) -> bytes:
        """All before the first frame."""
        matrices = [_four(self.K), np.eye(4), _four(self.depth_K), self.depth_pose]
        out = struct.pack("<IQ", self.version, len(self.name)) + self.name
        out += b"".join(struct.pack("<16f", *np.asarray(m, float).ravel()) for m in matrices)
        out += struct.pack("<2i4If", self.color_kind, self.depth_kind, *self.size, *self.depth_size, self.shift)
        return out + struct.pack("<Q", self.frames if self.announced is None else self.announced)

    def frame(self, i: int) -> bytes:
        """A frame, its header first."""
        color, depth = self.color(i), self.depth(i)
        micros = 5_000_000 + 33_000 * i if self.micros is None else self.micros[i]
        lengths = self.lengths.get(i, (len(color), len(depth)))
        pose = self.poses.get(i, pose_at(i))
        return struct.pack("<16f4Q", *pose.ravel(), micros, micros + 4000 * bool(micros), *lengths) + color + depth

    def bytes(self) -> bytes:
        """The whole file, and the IMU's count that ends it."""
        return self.header() + b"".join(self.frame(i) for i in range(self.frames)) + struct.pack("<Q", 0)


def write_sens(path: Path, sens: Sens | None = None) -> Path:
    """Write a .sens file."""
    path.write_bytes((sens or Sens()).bytes())
    return path


def write_tum(folder: Path, frames: int = 4, depth_delay: float = 0.005) -> Path:
    """TUM's layout at 640 x 480, 10 images a second; poses at times between them, depth a little late."""
    (folder / "rgb").mkdir(parents=True)
    (folder / "depth").mkdir()
    lists: dict[str, list[str]] = {
        "rgb": ["# color"],
        "depth": ["# depth maps"],
        "groundtruth": ["# timestamp tx ty tz qx qy qz qw"],
    }
    start = 1305031102
    usual = np.array([[525.0, 0, 319.5], [0, 525.0, 239.5], [0, 0, 1]])
    for i in range(frames):
        times = {"rgb": f"{start + i // 10}.{i % 10}75304", "depth": f"{start + i / 10 + 0.075304 + depth_delay:.6f}"}
        for name, data in (("rgb", cv2.imencode(".png", image_at(i, (640, 480))[:, :, ::-1])[1].tobytes()),
                           ("depth", png16(wall_at(i, (640, 480), usual), 5000))):  # fmt: skip
            (folder / name / f"{times[name]}.png").write_bytes(data)
            lists[name].append(f"{times[name]} {name}/{times[name]}.png")
    for step in range(10 * frames):  # a straight walk, 0.1 m from image to image, 100 poses a second
        seconds = step / 100 + 0.0703
        lists["groundtruth"].append(f"{start + seconds:.4f} {seconds - 0.075304:.6f} 0.2 1.5 -0.5 0.5 -0.5 0.5")
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


def write_seven_scenes(folder: Path, frames: int = 3) -> Path:
    """7-Scenes' layout; the world has y down, a corner of each depth image is invalid (65535)."""
    folder.mkdir(parents=True)
    usual = np.array([[585.0, 0, 320.0], [0, 585.0, 240.0], [0, 0, 1]])
    for i in range(frames):
        depth = np.rint(wall_at(i, (640, 480), usual) * 1000).astype(np.uint16)
        depth[:100, :100] = 65535
        (folder / f"frame-{i:06d}.color.png").write_bytes(
            cv2.imencode(".png", image_at(i, (640, 480))[:, :, ::-1])[1].tobytes()
        )
        (folder / f"frame-{i:06d}.depth.png").write_bytes(cv2.imencode(".png", depth)[1].tobytes())
        np.savetxt(folder / f"frame-{i:06d}.pose.txt", in_world("y-down", pose_at(i)))
    return folder


def write_frames(folder: Path, frames: int = 12, world: str = "z-up", many_poses: bool = False) -> Path:
    """The layout of loose frames, numbered 0 to 11 without leading zeros; poses in one file, or in one each."""
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    poses = [in_world(world, pose_at(i)) for i in range(frames)]
    for i in range(frames):
        (folder / f"rgb/{i}.jpg").write_bytes(jpeg_at(i))
        (folder / f"depth/{i}.png").write_bytes(png16(wall_at(i, SIZE, K), 1000))
    np.savetxt(folder / "intrinsics.txt", K)
    if many_poses:
        (folder / "pose").mkdir()
        for i, pose in enumerate(poses):
            np.savetxt(folder / f"pose/{i}.txt", pose)
    else:
        np.savetxt(folder / "poses.txt", np.array(poses).reshape(frames, 16))
    return folder


def in_world(world: str, pose: np.ndarray) -> np.ndarray:
    """A pose of the z-up world as a world with another axis up says it."""
    axes = {"z-up": np.eye(3), "y-up": [[1, 0, 0], [0, 0, 1], [0, -1, 0]], "y-down": [[1, 0, 0], [0, 0, -1], [0, 1, 0]]}
    out = pose.copy()
    out[:3] = np.array(axes[world]) @ pose[:3]
    return out


def _four(K: np.ndarray) -> np.ndarray:
    out = np.eye(4)
    out[:3, :3] = K
    return out
