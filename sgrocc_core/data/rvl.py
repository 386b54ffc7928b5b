"""Depth images coded with RVL, as compressedDepth carries them.

The format is that of A. D. Wilson, "Fast Lossless Depth Image Compression", ISS 2017. Pixels are written in runs: the
number of zeros, the number of readings, then each reading's difference to the one before it. Numbers are sequences of
nibbles, three bits of value and one that says whether another nibble follows; eight nibbles make a little-endian word
of 32 bits, the first nibble in its highest bits.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sgrocc_core.errors import FrameError


def decode_rvl(data: np.ndarray, width: int, height: int) -> np.ndarray:
    """The pixels of an RVL stream.

    Args:
        data: (N,) uint8, the stream without any header.
        width: of the image, pixels.
        height: of the image, pixels.

    Returns:
        (height, width) uint16.

    Raises:
        FrameError: `bad_depth`, the stream ends early or has runs that do not fit the image.
    """
    words = np.frombuffer(data[: len(data) // 4 * 4].tobytes(), "<u4")
    out = np.zeros(width * height, np.uint16)
    if not _decode(words, out):
        raise FrameError("bad_depth", f"an RVL stream of {len(data)} bytes does not give {width} x {height} pixels")
    return out.reshape(height, width)


def encode_rvl(depth: np.ndarray) -> np.ndarray:
    """(H, W) uint16 to an RVL stream, (N,) uint8."""
    nibbles = np.zeros(depth.size * 12 + 64, np.uint8)
    count = _encode(np.ascontiguousarray(depth, np.uint16).ravel(), nibbles)
    padded = nibbles[: -(-count // 8) * 8].reshape(-1, 8).astype(np.uint32)
    words = np.zeros(len(padded), np.uint32)
    for k in range(8):
        words |= padded[:, k] << np.uint32(28 - 4 * k)
    return words.astype("<u4").view(np.uint8)


@njit(cache=True)
def _number(words, at):
    """The number at nibble `at`, and the nibble after it; -1 past the end."""
    value, shift = 0, 0
    while True:
        if at >= 8 * len(words) or shift > 30:
            return -1, at
        nibble = (words[at // 8] >> np.uint32(28 - 4 * (at % 8))) & np.uint32(15)
        value |= int(nibble & np.uint32(7)) << shift
        at, shift = at + 1, shift + 3
        if nibble < 8:
            return value, at


@njit(cache=True)
def _decode(words, out):
    at, pixel, last = 0, 0, 0
    while pixel < len(out):
        zeros, at = _number(words, at)
        readings, at = _number(words, at) if zeros >= 0 else (-1, at)
        if readings < 0 or pixel + zeros + readings > len(out) or zeros + readings == 0:
            return False
        pixel += zeros
        for _ in range(readings):
            folded, at = _number(words, at)
            if folded < 0:
                return False
            last += (folded >> 1) ^ -(folded & 1)
            out[pixel] = last & 0xFFFF
            pixel += 1
    return True


@njit(cache=True)
def _put(value, nibbles, at):
    while True:
        nibble = value & 7
        value >>= 3
        nibbles[at] = nibble | (8 if value else 0)
        at += 1
        if value == 0:
            return at


@njit(cache=True)
def _encode(depth, nibbles):
    at, pixel, last = 0, 0, 0
    while pixel < len(depth):
        start = pixel
        while pixel < len(depth) and depth[pixel] == 0:
            pixel += 1
        at = _put(pixel - start, nibbles, at)
        end = pixel
        while end < len(depth) and depth[end] != 0:
            end += 1
        at = _put(end - pixel, nibbles, at)
        while pixel < end:
            step = int(depth[pixel]) - last
            at = _put((step << 1) ^ (step >> 31), nibbles, at)
            last = int(depth[pixel])
            pixel += 1
    return at
