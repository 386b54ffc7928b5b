"""The soft-gating lifter (Eq. 1, 2): image features to anchors, weighted by agreement with the depth prior.

f_i = W sum_k A_ik G_ik F(p_i + dp_ik). W is applied to the feature map before sampling: the sum is linear, and the map
is much smaller.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrocc_core.network.expert.projection import Projection, project, sample_nearest, to_camera

GATES = ("one_sided", "symmetric")
LIFTERS = ("soft", "hard", "deformable", "threshold")
MAX_OFFSET = 0.24
"""Maximum offset along each axis, metres."""
HALF_DIAGONAL = 0.5 * math.sqrt(3.0) * 0.16
"""Half a cell's diagonal, metres: the range of the `hard` lifter."""


def residual(z: Tensor, depth: Tensor, thickness: Tensor, gate: str) -> Tensor:
    """Compute the distance r of an anchor from the matter predicted at its pixel, metres.

    With `symmetric` (the paper) r = z - D. With `one_sided` r is 0 from D to D + thickness, and the signed distance to
    that interval elsewhere.

    Args:
        z: depth of the anchor, metres.
        depth: depth D of the surface at the sample, metres; broadcastable with z.
        thickness: extent behind the surface, metres; broadcastable with z.
        gate: one of GATES.
    """
    r = z - depth
    if gate == "symmetric":
        return r
    return r.clamp(max=0.0) + (r - thickness).clamp(min=0.0)


def gate_value(r: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Eq. 2: exp(-alpha r^2 / (2 sigma^2)), 1 at r = 0."""
    return torch.exp(-alpha / (2.0 * sigma * sigma) * (r * r))


def corner_rows(projection: Projection, height: int, width: int, stride: int) -> tuple[Tensor, Tensor]:
    """Find the four rows of a feature table that contribute to a bilinear sample, and their weights.

    Samples are clamped to the map's border pixels.

    Args:
        projection: (B, M) points in the full image.
        height: of the feature map.
        width: of the feature map.
        stride: image pixels per feature-map pixel.

    Returns:
        index: (B, M) int64, upper-left row of the patch; its right, lower and lower-right neighbours are at +1, +width
            and +width + 1. weights: (B, M, 4) of the four in that order; they sum to 1.
    """
    x = ((projection.u + 0.5) * (1.0 / stride) - 0.5).clamp(0.0, width - 1.0)
    y = ((projection.v + 0.5) * (1.0 / stride) - 0.5).clamp(0.0, height - 1.0)
    x0 = torch.floor(x.detach()).clamp(max=width - 2.0)
    y0 = torch.floor(y.detach()).clamp(max=height - 2.0)
    a, b = x - x0, y - y0
    weights = torch.stack([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b], -1)
    return (y0 * width + x0).to(torch.int64), weights


def weighted_rows(table: Tensor, index: Tensor, weights: Tensor, width: int) -> Tensor:
    """Compute weighted sums of 2 x 2 patches of a feature map.

    Args:
        table: (B, H * width, C), the map, row-major.
        index: (B, N, K), upper-left row of each patch.
        weights: (B, N, K, 4).
        width: of the feature map.

    Returns:
        (B, N, C).
    """
    batch, rows, channels = table.shape
    anchors = index.shape[1]
    if torch.onnx.is_in_onnx_export():  # one Gather of whole patches, one batched MatMul
        shifted = [table, *(torch.roll(table, -s, 1) for s in (1, width, width + 1))]
        patches = torch.stack(shifted, 2).reshape(batch * rows, 4 * channels)
        flat = index + rows * torch.arange(batch)[:, None, None]
        gathered = patches[flat.reshape(-1)].reshape(batch, anchors, -1, channels)
        return torch.matmul(weights.reshape(batch, anchors, 1, -1), gathered).squeeze(2)
    base = rows * torch.arange(batch, device=index.device)[:, None, None]
    steps = torch.tensor([0, 1, width, width + 1], device=index.device)
    flat = ((index + base)[..., None] + steps).reshape(batch * anchors, -1)
    flat_weights = weights.reshape(batch * anchors, -1)
    active = (flat_weights.detach() != 0).any(1).nonzero().squeeze(1)  # most anchors have no valid sample
    sums = F.embedding_bag(
        flat[active], table.reshape(-1, channels), mode="sum", per_sample_weights=flat_weights[active]
    )
    return sums.new_zeros(batch * anchors, channels).index_copy(0, active, sums).reshape(batch, anchors, channels)


def start_samples(offsets: int) -> Tensor:
    """Initial positions of the samples relative to the anchor, (K, 3), metres.

    They are the corners of cubes around the anchor, the first with an edge of 0.16 m, the others of different sizes.
    """
    corners = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    halves = torch.tensor([0.08, 0.04, 0.12, 0.02, 0.16, 0.06, 0.10, 0.14])
    return (halves[:, None, None] * corners).reshape(-1, 3)[:offsets]


class SoftGatedLifter(nn.Module):
    """Lifts image features to the lattice's anchors.

    Args:
        feature_channels: channels of the feature map.
        channels: of the anchors' features.
        query_channels: channels of the input from which offsets and weights are predicted.
        offsets: K, samples per anchor.
        gate: one of GATES.
        kind: one of LIFTERS.
        sigma: initial width of the gate, metres.
        tau: range of the `threshold` lifter, metres.
    """

    def __init__(
        self,
        feature_channels: int,
        channels: int,
        query_channels: int,
        offsets: int,
        gate: str,
        kind: str,
        sigma: float = 0.5,
        tau: float = 0.3,
    ) -> None:
        super().__init__()
        self.offsets, self.gate, self.kind, self.tau = (1 if kind == "hard" else offsets), gate, kind, tau
        self.value = nn.Linear(feature_channels, channels)
        self.query = nn.Linear(query_channels, self.offsets * 4)
        self.raw_alpha = nn.Parameter(torch.tensor(_inverse_softplus(1.0)))
        self.raw_sigma = nn.Parameter(torch.tensor(_inverse_softplus(sigma)))
        nn.init.normal_(self.query.weight, std=0.01)
        with torch.no_grad():
            self.query.bias.zero_()
            self.query.bias[: self.offsets * 3] = torch.atanh(start_samples(self.offsets) / MAX_OFFSET).reshape(-1)

    def forward(
        self,
        features: Tensor,
        query: Tensor,
        centres: Tensor,
        depth: Tensor,
        thickness: Tensor,
        intrinsics: Tensor,
        pose: Tensor,
    ) -> Tensor:
        """Lift the features.

        Args:
            features: (B, C_f, h, w); depth is larger by an integer factor.
            query: (B, N, C_q).
            centres: (N, 3), anchors, metres, box frame.
            depth: (B, 1, H, W), metres, 0 = none.
            thickness: (B, 1, h', w'), metres; depth is larger by an integer factor.
            intrinsics: (B, 4), pixels.
            pose: (B, 4, 4) T_bc.

        Returns:
            (B, N, C); 0 for an anchor without a sample that has depth and lies inside the image.
        """
        batch, anchors = query.shape[:2]
        height, width = features.shape[-2:]
        table = self.value(features.flatten(2).transpose(1, 2))
        raw = self.query(query).float()
        camera = to_camera(centres, pose)
        if self.kind == "hard":
            samples = camera[:, :, None]
            attention = torch.ones_like(raw[..., :1])
        else:
            offset = MAX_OFFSET * torch.tanh(raw[..., : self.offsets * 3]).reshape(batch, anchors * self.offsets, 3)
            turned = torch.matmul(offset, pose[:, :3, :3]).reshape(batch, anchors, self.offsets, 3)
            samples = camera[:, :, None] + turned
            attention = torch.softmax(raw[..., self.offsets * 3 :], -1)
        where = project(samples.reshape(batch, -1, 3), intrinsics, (depth.shape[2], depth.shape[3]))
        weight = attention * self._gate(camera[..., 2:], where, depth, thickness, (batch, anchors, self.offsets))
        index, corners = corner_rows(where, height, width, int(depth.shape[3]) // int(width))
        corners = corners.reshape(batch, anchors, self.offsets, 4) * weight[..., None]
        return weighted_rows(table.float(), index.reshape(batch, anchors, self.offsets), corners, width)

    def _gate(
        self, z: Tensor, where: Projection, depth: Tensor, thickness: Tensor, shape: tuple[int, int, int]
    ) -> Tensor:
        """(B, N, K) gates; 0 outside the image and where the sample has no depth."""
        surface = sample_nearest(depth, where).reshape(shape)
        valid = where.inside.reshape(shape) & (surface > 0)
        if self.kind == "deformable":
            return valid.float()
        behind = sample_nearest(thickness, where, depth.shape[-1] // thickness.shape[-1]).reshape(shape)
        r = residual(z, surface, behind, self.gate)
        if self.kind == "hard":
            return (valid & (r.abs() < HALF_DIAGONAL)).float()
        if self.kind == "threshold":
            return (valid & (r.abs() < self.tau)).float()
        gate = gate_value(r, F.softplus(self.raw_alpha), F.softplus(self.raw_sigma))
        return gate * valid.float()


def _inverse_softplus(value: float) -> float:
    return math.log(math.expm1(value))
