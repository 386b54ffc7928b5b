"""Compiled inner loops of the renderer: hit points and normals, shadow rays, noise smoothing, shading."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sgrocc_core.data.synthetic.solids.materials import (
    FABRIC,
    LAMP,
    MARBLE,
    OUTSIDE,
    PLAIN,
    PLANKS,
    PLASTER,
    PRINT,
    SCREEN,
    WOOD,
)
from sgrocc_core.data.synthetic.solids.primitives import BOX, CYLINDER, MESH, ROUNDED, ROUNDNESS
from sgrocc_core.data.synthetic.solids.textures import noise, outside_at, pattern_at

MAX_DEPTH = 60.0
"""Hits beyond this depth are ignored, metres."""


@njit(cache=True, fastmath=True)
def camera_rays(K, R, width, height):  # type: ignore[no-untyped-def]
    """(H * W, 3) float32 ray directions in the world, scaled to unit z-depth: R K^-1 (u, v, 1)."""
    out = np.empty((height * width, 3), np.float32)
    for v in range(height):
        y = (v - K[1, 2]) / K[1, 1]
        for u in range(width):
            x = (u - K[0, 2]) / K[0, 0]
            for a in range(3):
                out[v * width + u, a] = R[a, 0] * x + R[a, 1] * y + R[a, 2]
    return out


@njit(cache=True)
def _smooth_normal(kind, local, half, n):  # type: ignore[no-untyped-def]
    """Replace the flat local normal by that of the curved solid, if it is curved."""
    if kind == CYLINDER:
        if abs(n[2]) < 0.9:
            n[0], n[1] = local[0] / (half[0] * half[0]), local[1] / (half[1] * half[1])
    else:
        for a in range(3):
            x = local[a] / half[a]
            n[a] = (x if kind != ROUNDED else math.copysign(abs(x) ** (ROUNDNESS - 1), x)) / half[a]
    length = math.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-12
    for a in range(3):
        n[a] /= length


@njit(cache=True)
def surface_hits(triangle, directions, origin, corners, flat, owner, kinds, rotations, centres, halves):  # type: ignore[no-untyped-def]
    """Depth, solid, world normal and local point of every ray that hits a triangle.

    Returns:
        depth: (N,) float32 metres, 0 = none.
        solid: (N,) int32, -1 = none.
        normal: (N, 3) float32, world normal towards the camera.
        local: (N, 3) float32, hit point in the solid's frame, metres.
        face: (N, 3) float32, flat normal in the solid's frame.
    """
    count = len(triangle)
    depth, solid = np.zeros(count, np.float32), np.full(count, -1, np.int32)
    normal, local, face = (
        np.zeros((count, 3), np.float32),
        np.zeros((count, 3), np.float32),
        np.zeros((count, 3), np.float32),
    )
    p, n, ln = np.empty(3), np.empty(3), np.empty(3)
    for i in range(count):
        t = triangle[i]
        if t < 0:
            continue
        below, above, towards = 0.0, 0.0, 0.0
        for a in range(3):
            above += (corners[t, 0, a] - origin[a]) * flat[t, a]
            below += directions[i, a] * flat[t, a]
        if abs(below) < 1e-9:
            continue
        z = above / below
        if z <= 0.0 or z > MAX_DEPTH:
            continue
        s = owner[t]
        depth[i], solid[i] = z, s
        R, c = rotations[s], centres[s]
        for a in range(3):
            p[a] = origin[a] + z * directions[i, a] - c[a]
        for a in range(3):
            local[i, a] = R[0, a] * p[0] + R[1, a] * p[1] + R[2, a] * p[2]
            ln[a] = R[0, a] * flat[t, 0] + R[1, a] * flat[t, 1] + R[2, a] * flat[t, 2]
            face[i, a] = ln[a]
        if kinds[s] != BOX and kinds[s] != MESH:
            _smooth_normal(kinds[s], local[i], halves[s], ln)
        for a in range(3):
            n[a] = R[a, 0] * ln[0] + R[a, 1] * ln[1] + R[a, 2] * ln[2]
            towards += n[a] * directions[i, a]
        for a in range(3):
            normal[i, a] = n[a] if towards < 0 else -n[a]
    return depth, solid, normal, local, face


@njit(cache=True, fastmath=True)
def shadow_rays(points, normals, valid, lights, jitter, reach):  # type: ignore[no-untyped-def]
    """Rays from low-resolution hits to jittered points of each light, and one ambient ray into the hemisphere.

    Returns:
        origins: (N, L + 1, 3) float32.
        directions: (N, L + 1, 3) float32, ending exactly at the light, or after `reach` metres for the ambient ray.
    """
    n, m = len(points), len(lights)
    origins, directions = np.zeros((n, m + 1, 3), np.float32), np.zeros((n, m + 1, 3), np.float32)
    for i in range(n):
        for k in range(m + 1):
            for a in range(3):
                origins[i, k, a] = points[i, a] + 0.012 * normals[i, a]
            if not valid[i]:
                directions[i, k, 2] = 1e-6
                continue
            if k < m:
                for a in range(3):
                    directions[i, k, a] = lights[k, a] + lights[k, 7] * jitter[i, k, a] - origins[i, k, a]
            else:
                length = 1e-6
                for a in range(3):
                    directions[i, k, a] = normals[i, a] + 0.97 * jitter[i, k, a]
                    length += directions[i, k, a] ** 2
                for a in range(3):
                    directions[i, k, a] *= reach / math.sqrt(length)
    return origins, directions


@njit(cache=True, fastmath=True)
def sun_rays(points, normals, valid, sun, windows):  # type: ignore[no-untyped-def]
    """Rays from hits towards the sun, up to the window through which it shines.

    Args:
        points: (N, 3) hit points, metres.
        normals: (N, 3) world normals.
        valid: (N,) bool, whether the point is a hit.
        sun: (6,) direction to the sun and its linear colour; colour 0 = no sun.
        windows: (W, 11) centre, normal into the room, up, half width, half height.

    Returns:
        origins: (N, 3) float32.
        directions: (N, 3) float32.
        reaches: (N,) bool, whether the ray passes through a window.
    """
    n = len(points)
    origins, directions, reaches = np.zeros((n, 3), np.float32), np.zeros((n, 3), np.float32), np.zeros(n, np.bool_)
    if sun[3] <= 0:
        return origins, directions, reaches
    p, q = np.empty(3), np.empty(3)
    for i in range(n):
        facing = normals[i, 0] * sun[0] + normals[i, 1] * sun[1] + normals[i, 2] * sun[2]
        if not valid[i] or facing <= 0:
            continue
        for a in range(3):
            p[a] = points[i, a] + 0.012 * normals[i, a]
        for k in range(len(windows)):
            w = windows[k]
            speed = w[3] * sun[0] + w[4] * sun[1] + w[5] * sun[2]
            if speed > -0.05:
                continue
            t = 0.0
            for a in range(3):
                t += (w[a] - p[a]) * w[3 + a]
            t /= speed
            if t <= 0.1:
                continue
            for a in range(3):
                q[a] = p[a] + t * sun[a] - w[a]
            up = q[0] * w[6] + q[1] * w[7] + q[2] * w[8]
            side = (
                q[0] * (w[4] * w[8] - w[5] * w[7])
                + q[1] * (w[5] * w[6] - w[3] * w[8])
                + q[2] * (w[3] * w[7] - w[4] * w[6])
            )
            if abs(up) < w[10] and abs(side) < w[9]:
                for a in range(3):
                    origins[i, a], directions[i, a] = p[a], t * sun[a]
                reaches[i] = True
    return origins, directions, reaches


@njit(cache=True)
def edge_pixels(depth, solid):  # type: ignore[no-untyped-def]
    """(E,) int64 flat indices of pixels next to another solid or a depth discontinuity."""
    h, w = depth.shape
    out, count = np.empty(h * w, np.int64), 0
    for y in range(h):
        for x in range(w):
            z, s = depth[y, x], solid[y, x]
            edge = False
            if (
                (x + 1 < w and (solid[y, x + 1] != s or abs(depth[y, x + 1] - z) > 0.08 * z))
                or (y + 1 < h and (solid[y + 1, x] != s or abs(depth[y + 1, x] - z) > 0.08 * z))
                or (x > 0 and solid[y, x - 1] != s)
                or (y > 0 and solid[y - 1, x] != s)
            ):
                edge = True
            if edge:
                out[count] = y * w + x
                count += 1
    return out[:count].copy()


@njit(cache=True, fastmath=True)
def smooth_visibility(visible, depth, normals, stride):  # type: ignore[no-untyped-def]
    """Average (h, w, L) noisy visibility over 5 x 5 neighbours on the same surface, `stride` pixels apart."""
    h, w, m = visible.shape
    out = np.zeros((h, w, m), np.float32)
    total = np.empty(m, np.float32)
    for y in range(h):
        for x in range(w):
            weight = 0.0
            total[:] = 0.0
            z, nx, ny, nz = depth[y, x], normals[y, x, 0], normals[y, x, 1], normals[y, x, 2]
            for b in range(-2, 3):
                for a in range(-2, 3):
                    j, i = y + b * stride, x + a * stride
                    if j < 0 or j >= h or i < 0 or i >= w:
                        continue
                    if abs(depth[j, i] - z) > 0.06 * z:
                        continue
                    dot = nx * normals[j, i, 0] + ny * normals[j, i, 1] + nz * normals[j, i, 2]
                    if dot < 0.9:
                        continue
                    weight += 1.0
                    for k in range(m):
                        total[k] += visible[j, i, k]
            for k in range(m):
                out[y, x, k] = total[k] / max(weight, 1.0)
    return out


@njit(cache=True, fastmath=True)
def _visibility_at(visible, low_depth, low_normals, step, v, u, z, normal, out):  # type: ignore[no-untyped-def]
    """Bilinear upsampling of the visibility that does not mix surfaces."""
    h, w, m = visible.shape
    fy, fx = v / step, u / step
    y, x = int(fy), int(fx)
    out[:] = 0.0
    total = 0.0
    for j in range(y, min(y + 2, h)):
        for i in range(x, min(x + 2, w)):
            dot = normal[0] * low_normals[j, i, 0] + normal[1] * low_normals[j, i, 1] + normal[2] * low_normals[j, i, 2]
            weight = (1.001 - abs(fy - j)) * (1.001 - abs(fx - i)) * max(dot, 0.01) ** 4
            weight *= 1.0 if abs(low_depth[j, i] - z) < 0.06 * z else 1e-3
            total += weight
            for k in range(m):
                out[k] += weight * visible[j, i, k]
    for k in range(m):
        out[k] /= max(total, 1e-9)


@njit(cache=True, fastmath=True)
def _albedo(row, local, face, half, index, footprint, out):  # type: ignore[no-untyped-def]
    """Colour of a material at a local point."""
    pattern = int(row[0])
    ax, ay, az = abs(face[0]), abs(face[1]), abs(face[2])
    if az >= ax and az >= ay:
        u, v, hu, hv = local[0], local[1], half[0], half[1]
    elif ax >= ay:
        u, v, hu, hv = local[1], local[2], half[1], half[2]
    else:
        u, v, hu, hv = local[0], local[2], half[0], half[2]
    if (pattern == WOOD or pattern == PLANKS) and hv > hu:
        u, v = v, u
    shift = (index % 97) * 1.37
    mix, tone = pattern_at(pattern, u + shift, v + 0.5 * shift, row[7], int(row[12]), footprint)
    if pattern == PLAIN or pattern == PLASTER:
        tone = 1 + 0.7 * row[8] * (tone - 1) + 0.06 * (noise(u * 0.6 + shift, v * 0.6, 3) - 0.5)
    elif pattern == WOOD or pattern == FABRIC or pattern == PLANKS or pattern == MARBLE:
        mix *= row[8]
    for a in range(3):
        out[a] = tone * (row[1 + a] * (1 - mix) + row[4 + a] * mix)
    if pattern == PRINT or pattern == SCREEN:  # like a photograph: each channel varies independently
        grain = 0.35 * row[7]
        for a in range(3):
            out[a] *= (
                0.35
                + 0.9 * noise(u / row[7], v / row[7], int(row[12]) + 20 + a)
                + 0.4 * noise(u / grain, v / grain, int(row[12]) + 30 + a)
            )
    for a in range(3):
        out[a] = min(max(out[a], 0.0), 1.0)


@njit(cache=True, fastmath=True)
def _lamp_light(n, direction, z, origin, view, lights, shadowed, seen, gloss, sharpness, light, spec):  # type: ignore[no-untyped-def]
    """Add the diffuse light and highlights of the lamps at one hit."""
    to = np.empty(3)
    for k in range(len(lights)):
        far, lambert, half_n, half_l = 0.0, 0.0, 0.0, 0.0
        for a in range(3):
            to[a] = lights[k, a] - (origin[a] + z * direction[a])
            far += to[a] * to[a]
        inverse = 1 / math.sqrt(far + 1e-6)
        for a in range(3):
            lambert += n[a] * to[a] * inverse
            bisector = to[a] * inverse - direction[a] / view
            half_n += n[a] * bisector
            half_l += bisector * bisector
        power = lights[k, 6] / (0.4 + far) * (seen[k] if k < shadowed else 0.45)
        for a in range(3):
            light[a] += lights[k, 3 + a] * power * max(0.92 * lambert + 0.08, 0.0)
        if gloss > 0.0 and lambert > 0.0 and half_n > 0.0:
            shine = gloss * power * (half_n / math.sqrt(half_l + 1e-9)) ** sharpness * 2.5
            for a in range(3):
                spec[a] += lights[k, 3 + a] * shine


@njit(cache=True, fastmath=True)
def shade(
    pixels,
    depth,
    solid,
    normal,
    local,
    face,
    directions,
    origin,
    focal,
    visible,
    low_depth,
    low_normals,
    step,
    lights,
    shadowed,
    ambient,
    sun,
    halves,
    material_of,
    materials,
    width,
):  # type: ignore[no-untyped-def]
    """Linear light of every ray, (N, 3) float32; `pixels` (N,) are the indices of the rays' pixels."""
    count = len(depth)
    out, colour, seen = np.zeros((count, 3), np.float32), np.empty(3), np.empty(visible.shape[2], np.float32)
    light, spec = np.empty(3), np.empty(3)
    for i in range(count):
        s = solid[i]
        if s < 0:
            continue
        row, z = materials[material_of[s]], depth[i]
        pattern = int(row[0])
        if pattern == OUTSIDE:
            sky = outside_at(directions[i, 0], directions[i, 1], directions[i, 2], int(row[12]))
            for a in range(3):
                out[i, a] = row[11] * sky[a]
            continue
        _albedo(row, local[i], face[i], halves[s], s, z / focal, colour)
        if pattern == LAMP:
            for a in range(3):
                out[i, a] = row[11] * colour[a]
            continue
        _visibility_at(visible, low_depth, low_normals, step, pixels[i] // width, pixels[i] % width, z, normal[i], seen)
        n, open_sky = normal[i], 0.25 + 0.75 * seen[shadowed]
        for a in range(3):
            light[a] = ambient[a] * open_sky * (0.85 + 0.15 * n[2])
            spec[a] = 0.0
        facing = max(0.0, n[0] * sun[0] + n[1] * sun[1] + n[2] * sun[2]) * seen[shadowed + 1]
        for a in range(3):
            light[a] += sun[3 + a] * facing
        view = math.sqrt(directions[i, 0] ** 2 + directions[i, 1] ** 2 + directions[i, 2] ** 2)
        _lamp_light(n, directions[i], z, origin, view, lights, shadowed, seen, row[9], row[10], light, spec)
        for a in range(3):
            out[i, a] = colour[a] * light[a] + spec[a]
            if pattern == SCREEN:
                out[i, a] += row[11] * colour[a]
    return out
