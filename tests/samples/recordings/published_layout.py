"""Writes tiny sets in the public layouts byte by byte, as their authors' Python 3.8 and NumPy 1 did: pickles are put
together from opcodes, so that neither our generator nor this machine's NumPy has a hand in them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

_NONE, _FALSE, _REDUCE, _BUILD, _STOP = b"N", b"\x89", b"R", b"b", b"."


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _tuple(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def array_bytes(values: Sequence[Any] | np.ndarray, code: str, shape: tuple[int, ...], core: str = "core") -> bytes:
    """Opcodes of an array, its numbers packed by `struct`; `core` is `core` for NumPy 1, `_core` for NumPy 2."""
    packing = {"f8": "<%dd", "f4": "<%df", "i8": "<%dq", "u1": "%dB", "b1": "%d?"}[code]
    flat = np.asarray(values, np.dtype(code)).ravel().tolist()
    raw = struct.pack(packing % len(flat), *flat)
    order = "|" if code in ("u1", "b1") else "<"
    kind = b"cnumpy\ndtype\n" + _tuple(_text(code), _FALSE, b"\x88") + _REDUCE
    kind += _tuple(_integer(3), _text(order), _NONE, _NONE, _NONE, _integer(-1), _integer(-1), _integer(0)) + _BUILD
    empty = (
        f"cnumpy.{core}.multiarray\n_reconstruct\n".encode()
        + _tuple(b"cnumpy\nndarray\n", _tuple(_integer(0)), b"C\x01b")
        + _REDUCE
    )
    content = b"B" + struct.pack("<I", len(raw)) + raw
    return empty + _tuple(_integer(1), _tuple(*map(_integer, shape)), kind, _FALSE, content) + _BUILD


def list_bytes(*items: bytes) -> bytes:
    """Opcodes of a list."""
    return b"](" + b"".join(items) + b"e"


def dict_bytes(**items: bytes) -> bytes:
    """A whole pickle of protocol 3: a dict of text to what the given opcodes make."""
    return b"\x80\x03}" + b"".join(_text(key) + value + b"s" for key, value in items.items()) + _STOP


def text_list(*items: str) -> bytes:
    """Opcodes of a list of texts."""
    return list_bytes(*map(_text, items))


def integers(*items: int) -> bytes:
    """Opcodes of a list of whole numbers."""
    return list_bytes(*map(_integer, items))


def depth_png(millimetres: Sequence[Sequence[int]]) -> bytes:
    """A PNG of one 16 bit channel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + struct.pack(f">{len(row)}H", *row) for row in millimetres)
    header = struct.pack(">IIBBBBB", len(millimetres[0]), len(millimetres), 16, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def pose() -> list[list[float]]:
    """A camera at (3, 1, 1.5) looking along the world's y axis: its x is the world's x, its y points down."""
    return [[1.0, 0, 0, 3.0], [0, 0, 1, 1.0], [0, -1, 0, 1.5], [0, 0, 0, 1]]


def write_local(root: Path, scene: str, frame: str, **changes: bytes | None) -> Path:
    """One frame in `root/occscannet`: an image of 24 x 16, red left and blue right, depth of 12 x 8 pixels, 1.5 m left
    and 3 m right.

    The grid's corner is (0.613, 1.0, 0.101). Its stored labels, [y, x, z], are 0 but for 2 at [y 5, x 7, z 0], 8 at
    [59, 0, 35] and 255 at y 0.

    Args:
        changes: opcodes in place of a key's, or None to leave it out.

    Returns:
        the pickle's path.
    """
    base = root / "occscannet"
    for folder in ("gathered_data", "posed_images"):
        (base / folder / scene).mkdir(parents=True, exist_ok=True)
    stored = [0] * (60 * 60 * 36)
    stored[: 60 * 36] = [255] * (60 * 36)
    stored[(5 * 60 + 7) * 36] = 2
    stored[(59 * 60 + 0) * 36 + 35] = 8
    content: dict[str, bytes | None] = {
        "img": _text(f"/home/someone/occscannet/posed_images/{scene}/{frame}.jpg"),
        "depth_gt": _text(f"/home/someone/occscannet/posed_images/{scene}/{frame}.png"),
        "cam_pose": array_bytes(pose(), "f8", (4, 4)),
        "intrinsic": array_bytes([[20.0, 0, 11.5, 0], [0, 21, 7.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "f8", (4, 4)),
        "voxel_origin": array_bytes([0.613, 1.0, 0.101], "f8", (3,)),
        "target_1_4": array_bytes(stored, "u1", (60, 60, 36)),
        **changes,
    }
    path = base / "gathered_data" / scene / f"{frame}.pkl"
    path.write_bytes(dict_bytes(**{key: value for key, value in content.items() if value is not None}))
    image = np.zeros((16, 24, 3), np.uint8)
    image[:, :12, 2], image[:, 12:, 0] = 220, 220  # OpenCV orders blue, green, red
    cv2.imwrite(str(base / "posed_images" / scene / f"{frame}.jpg"), image)
    (base / "posed_images" / scene / f"{frame}.png").write_bytes(depth_png([[1500] * 6 + [3000] * 6] * 8))
    return path


def write_lists(root: Path, **lists: Sequence[str]) -> None:
    """Lists `train_final`, `test_online` and the like, where the layout has them."""
    for name, lines in lists.items():
        folder = root / ("scene_occ" if name.endswith("_online") else "occscannet")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
