"""Renders a scene by ray casting (embreex): exact z-depth and labels, and an image.

The image is shaded with lights, soft shadows, materials and camera effects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from sgrocc_core.classes import UNKNOWN
from sgrocc_core.data.synthetic.rendering.camera_effects import CameraStyle, take_picture
from sgrocc_core.data.synthetic.rendering.shading import (
    camera_rays,
    edge_pixels,
    shade,
    shadow_rays,
    smooth_visibility,
    sun_rays,
    surface_hits,
)
from sgrocc_core.data.synthetic.rooms.rooms import Scene
from sgrocc_core.data.synthetic.solids.meshes import mesh_triangles, smooth_normals
from sgrocc_core.data.synthetic.solids.primitives import triangles

SHADOWED = 3
"""Maximum number of lights that cast shadows in a view; the strongest are used."""
EDGE_SAMPLES = ((0.35, 0.1), (-0.1, 0.35), (-0.35, -0.3))
"""Offsets of the additional rays at edges, pixels."""


@dataclass(frozen=True)
class View:
    """A rendered view.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        depth: (H, W) float32 z-depth, metres, 0 = nothing hit.
        labels: (H, W) uint8, 255 = nothing hit.
    """

    image: np.ndarray
    depth: np.ndarray
    labels: np.ndarray


class Renderer:
    """Renders a scene from any pose."""

    def __init__(self, scene: Scene, style: CameraStyle) -> None:
        self.scene, self.style = scene, style
        self.corners, self.owner = triangles(scene.solids)
        self._first_mesh = len(self.owner)
        corners, owner, self._normals = mesh_triangles(scene.solids)
        self.corners, self.owner = np.concatenate([self.corners, corners]), np.concatenate([self.owner, owner])
        edges = self.corners[:, 1:] - self.corners[:, :1]
        normal = np.cross(edges[:, 0], edges[:, 1])
        self.flat = normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-15)
        self._embree = EmbreeScene()
        TriangleMesh(self._embree, self.corners.astype(np.float32))

    def depth_and_labels(self, T_wc: np.ndarray, K: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """(H, W) float32 z-depth in metres and (H, W) uint8 labels, without an image; size is (width, height)."""
        depth, solid = self.depth_and_solids(T_wc, K, size)
        return depth, self._labels(solid)

    def depth_and_solids(self, T_wc: np.ndarray, K: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """(H, W) float32 z-depth in metres and (H, W) visible solid, -1 = none; size is (width, height)."""
        depth, solid, *_ = self._cast(T_wc, camera_rays(K, T_wc[:3, :3], *size))
        return depth.reshape(size[::-1]), solid.reshape(size[::-1])

    def view(self, T_wc: np.ndarray, K: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> View:
        """Render a view; `rng` only affects noise, blur and the jitter of shadow rays."""
        w, h = size
        directions = camera_rays(K, T_wc[:3, :3], w, h)
        depth, solid, normal, local, face = self._cast(T_wc, directions)
        lights = self._nearest_lights(T_wc, directions, depth)
        shadowed, step = min(SHADOWED, len(lights)), 2 if h <= 300 else 4
        low = self._visibility(T_wc, directions, depth, normal, (w, h), lights[:shadowed], step, rng)
        light = self._light(
            np.arange(w * h), (depth, solid, normal, local, face), directions, T_wc, K, lights, shadowed, low, step, w
        )
        edge = edge_pixels(depth.reshape(h, w), solid.reshape(h, w))
        for du, dv in EDGE_SAMPLES:  # antialiasing: more rays through pixels at edges
            moved = K.copy()
            moved[:2, 2] -= du, dv
            rays = camera_rays(moved, T_wc[:3, :3], w, h)[edge]
            light[edge] += self._light(edge, self._cast(T_wc, rays), rays, T_wc, K, lights, shadowed, low, step, w)
        light[edge] /= 1 + len(EDGE_SAMPLES)
        return View(
            take_picture(light.reshape(h, w, 3), self.style, rng),
            depth.reshape(h, w),
            self._labels(solid).reshape(h, w),
        )

    def _light(
        self,
        pixels: np.ndarray,
        hits: tuple[np.ndarray, ...],
        directions: np.ndarray,
        T_wc: np.ndarray,
        K: np.ndarray,
        lights: np.ndarray,
        shadowed: int,
        low: tuple[np.ndarray, np.ndarray, np.ndarray],
        step: int,
        width: int,
    ) -> np.ndarray:
        """(N, 3) float32 linear light of rays through `pixels`."""
        scene = self.scene
        inputs = (
            pixels, *hits, directions, T_wc[:3, 3].copy(), K[0, 0], *low, step,
            lights, shadowed, scene.ambient, scene.sun,
            scene.solids.halves, scene.solids.materials, scene.materials, width,
        )  # fmt: skip
        return np.asarray(shade(*inputs))

    def _labels(self, solid: np.ndarray) -> np.ndarray:
        return np.where(solid >= 0, self.scene.solids.labels[solid], UNKNOWN).astype(np.uint8)

    def _cast(self, T_wc: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, ...]:
        origins = np.repeat(T_wc[None, :3, 3].astype(np.float32), len(directions), 0)
        triangle = self._embree.run(origins, directions, query="INTERSECT")
        s, origin = self.scene.solids, T_wc[:3, 3].copy()
        hits = surface_hits(
            triangle,
            directions,
            origin,
            self.corners,
            self.flat,
            self.owner,
            s.kinds,
            s.rotations,
            s.centres,
            s.halves,
        )
        if len(self._normals):
            depth, normal = hits[0], hits[2]
            smooth_normals(triangle, self._first_mesh, depth, directions, origin, self.corners, self._normals, normal)
        return tuple(hits)

    def _nearest_lights(self, T_wc: np.ndarray, directions: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """The six lights that contribute most to what is seen, in that order."""
        middle = T_wc[:3, 3] + np.median(depth[::37, None] * directions[::37], axis=0)
        lights = self.scene.lights
        strength = lights[:, 6] / (0.4 + ((lights[:, :3] - middle) ** 2).sum(1))
        order = np.argsort(-strength, kind="stable")[:6]
        return np.ascontiguousarray(lights[order])

    def _visibility(
        self,
        T_wc: np.ndarray,
        directions: np.ndarray,
        depth: np.ndarray,
        normal: np.ndarray,
        size: tuple[int, int],
        lights: np.ndarray,
        step: int,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        w, h = size
        pick = (np.arange(0, h, step)[:, None] * w + np.arange(0, w, step)[None]).ravel()
        low_depth, low_normals = depth[pick], normal[pick]
        points = (T_wc[:3, 3] + low_depth[:, None] * directions[pick]).astype(np.float32)
        jitter = rng.standard_normal((len(pick), len(lights) + 1, 3), np.float32)
        jitter[:, :-1] = np.clip(jitter[:, :-1] * 0.55, -1, 1)
        jitter[:, -1] /= np.linalg.norm(jitter[:, -1], axis=1, keepdims=True) + 1e-6
        origins, to = shadow_rays(points, low_normals, low_depth > 0, lights, jitter, np.float32(0.7))
        visible = self.unblocked(origins, to).reshape(len(pick), -1)
        sun_origins, sun_to, reaches = sun_rays(points, low_normals, low_depth > 0, self.scene.sun, self.scene.windows)
        sunny = self.unblocked(sun_origins[reaches], sun_to[reaches])
        shape = ((h + step - 1) // step, (w + step - 1) // step)
        visible = np.concatenate([visible, np.zeros((len(pick), 1), np.float32)], 1)
        visible[reaches, -1] = sunny
        low_depth, low_normals = low_depth.reshape(shape), low_normals.reshape(*shape, 3)
        smooth = visible.reshape(*shape, -1)
        for stride in (1, 3):
            smooth = smooth_visibility(smooth, low_depth, low_normals, stride)
        smooth[..., -1] = visible[:, -1].reshape(shape)  # the sun casts hard shadows
        return smooth, low_depth, low_normals

    def unblocked(self, origins: np.ndarray, to: np.ndarray) -> np.ndarray:
        """1 if nothing is between origin and origin + to, else 0; float32, flat."""
        flat = origins.reshape(-1, 3)
        if not len(flat):
            return np.zeros(0, np.float32)
        hit = self._embree.run(flat, to.reshape(-1, 3), dists=np.ones(len(flat), np.float32), query="OCCLUDED")
        return (hit < 0).astype(np.float32)
