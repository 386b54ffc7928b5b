"""The spatial expert: from one image's features and depth to the Gaussians of the local box (method, section 2).

A geometric code is followed by N blocks of lifter, lattice convolutions and ray-constrained refinement. Every cell
predicts its Gaussians; no cells are selected. A dense head, which predicts the 8 voxels of each cell directly from the
hidden layer, can replace the Gaussians for comparison.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sgrocc_core.classes import NUM_CLASSES
from sgrocc_core.errors import ConfigError, ModelError
from sgrocc_core.network.expert.dual_mamba.encoder import STAGES, DualMambaEncoder
from sgrocc_core.network.expert.dual_mamba.stages import HEADS as SCAN_HEADS
from sgrocc_core.network.expert.fusion import FUSIONS, HistoryFusion
from sgrocc_core.network.expert.lattice_encoder import CODE_CHANNELS, ContextBlock, cell_centres, geometric_code
from sgrocc_core.network.expert.lifter import GATES, LIFTERS, SoftGatedLifter
from sgrocc_core.network.expert.refinement import MAX_STEP, REFINEMENTS, GaussianState, Refinement, start_state

HEADS = ("gaussians", "dense")
ENCODERS = ("context", "dual_mamba")
START_EMPTY = 4.0
"""Initial logit of empty in the dense head: P(occupied) = 0.17, about the share of occupied voxels in the truth."""
OUTPUTS = ("means", "scales", "rotations", "opacities", "logits", "features")
"""The engine's outputs in their order."""


@dataclass(frozen=True)
class ExpertConfig:
    """Sizes and variants of the spatial expert.

    Attributes:
        channels: of the anchors' features.
        wide: channels of the half-resolution level.
        hidden: width of the refinement heads.
        feature_channels: channels of the image engine's feature map.
        offsets: K, samples per anchor.
        gaussians: G, Gaussians per cell (1 to 8).
        blocks: N.
        gate: `one_sided` or `symmetric`.
        lifter: `soft`, `hard`, `deformable` or `threshold`.
        sigma: initial width of the gate, metres.
        gate_sigma_fixed: keep sigma at its initial value and alpha at 1 instead of learning them.
        refinement: `ray`, `free` or `none`.
        dropout: probability of dropout in the refinement heads.
        dense_head: add per-voxel logits from the hidden layer in training, as an auxiliary target without splatting.
        head: source of the local head's voxels: `gaussians`, or `dense` for the per-voxel logits. The dense head is for
            comparison and has no Gaussians to export.
        fusion: initialisation of the fusion with the anchors' history before the last block: `identity` (initially the
            output of the single image), `random` or `none` (no fusion).
        encoder: how the cells' features are made: `context`, blocks of lifter and 3D convolutions, or `dual_mamba`, the
            OccLE network (`dual_mamba.encoder`).
    """

    channels: int = 32
    wide: int = 64
    hidden: int = 96
    feature_channels: int = 32
    offsets: int = 8
    gaussians: int = 4
    blocks: int = 2
    gate: str = "one_sided"
    lifter: str = "soft"
    sigma: float = 0.5
    gate_sigma_fixed: bool = False
    refinement: str = "ray"
    dropout: float = 0.1
    dense_head: bool = True
    head: str = "gaussians"
    fusion: str = "identity"
    encoder: str = "context"

    def __post_init__(self) -> None:
        for key, allowed in (
            ("gate", GATES),
            ("lifter", LIFTERS),
            ("refinement", REFINEMENTS),
            ("head", HEADS),
            ("fusion", FUSIONS),
            ("encoder", ENCODERS),
        ):
            if getattr(self, key) not in allowed:
                raise ConfigError(f"{key} is {getattr(self, key)!r}; it must be one of {', '.join(allowed)}")
        for key, low, high in (
            ("channels", 4, 512),
            ("wide", 4, 1024),
            ("hidden", 8, 1024),
            ("feature_channels", 4, 1024),
            ("offsets", 1, 64),
            ("gaussians", 1, 8),
            ("blocks", 1, 6),
        ):
            if not low <= getattr(self, key) <= high:
                raise ConfigError(f"{key} is {getattr(self, key)}; it must lie between {low} and {high}")
        if not (0 < self.sigma <= 10 and 0 <= self.dropout < 1):
            raise ConfigError(
                f"sigma is {self.sigma} and dropout {self.dropout}; sigma must lie in (0, 10] m, dropout in [0, 1)"
            )
        if self.encoder == "dual_mamba" and (self.blocks > STAGES or self.wide % SCAN_HEADS):
            raise ConfigError(
                f"blocks is {self.blocks} and wide {self.wide}; with encoder: dual_mamba there are at most {STAGES} "
                f"blocks, and wide must be a multiple of {SCAN_HEADS}"
            )


class SpatialExpert(nn.Module):
    """Predicts the Gaussians of the lattice from one image's features and depth; see `forward`."""

    centres: Tensor

    def __init__(self, config: ExpertConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or ExpertConfig()
        self.register_buffer("centres", cell_centres(), persistent=False)
        self.code = nn.Sequential(
            nn.Linear(CODE_CHANNELS, 2 * c.channels), nn.ReLU(), nn.Linear(2 * c.channels, c.channels)
        )
        mamba = c.encoder == "dual_mamba"
        lifters = [
            SoftGatedLifter(c.feature_channels, c.channels, c.channels, c.offsets, c.gate, c.lifter, c.sigma)
            for _ in range(1 if mamba else c.blocks)
        ]
        self.lifters = nn.ModuleList([] if mamba else lifters)
        self.encoders = nn.ModuleList([] if mamba else [ContextBlock(c.channels, c.wide) for _ in range(c.blocks)])
        self.dual_mamba = (
            DualMambaEncoder(c.feature_channels, c.channels, c.wide, c.blocks, lifters[0]) if mamba else None
        )
        self.refinements = nn.ModuleList(
            Refinement(c.channels + CODE_CHANNELS, c.hidden, c.gaussians, c.refinement, MAX_STEP * 0.5**i, c.dropout)
            for i in range(c.blocks)
        )
        self.dense = nn.Linear(c.hidden, 8 * (NUM_CLASSES + 1)) if c.dense_head or c.head == "dense" else None
        if c.head == "dense" and self.dense is not None:
            nn.init.constant_(self.dense.bias.data.view(8, -1)[:, 0], START_EMPTY)
        self.fusion = None if c.fusion == "none" else HistoryFusion(c.channels, start=c.fusion)
        if c.gate_sigma_fixed:
            for lifter in lifters:
                lifter.get_parameter("raw_alpha").requires_grad_(False)
                lifter.get_parameter("raw_sigma").requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)

    def forward(
        self,
        features: Tensor,
        depth: Tensor,
        spread: Tensor,
        hits: Tensor,
        thickness: Tensor,
        intrinsics: Tensor,
        pose: Tensor,
        history: Tensor | None = None,
        past: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Predict the Gaussians of the local box.

        Shapes are those of the small model. Without `history` and `past` nothing is fused.

        Args:
            features: (B, 32, 30, 40), stride 8.
            depth: (B, 1, 240, 320), metres along the optical axis; 0 where there is none and in the padding.
            spread: (B, 1, 240, 320), metres, uncertainty of the depth (sigma_g of a sensor, b of the image engine).
            hits: (B, 60, 60, 36), number of the depth's pixels in each voxel; see `projection.count_hits`.
            thickness: (B, 1, 60, 80), metres.
            intrinsics: (B, 4) fx, fy, cx, cy, pixels of the 320 x 240 image.
            pose: (B, 4, 4) T_bc, camera to box frame.
            history: (B, 16200, C), the anchors' features in the memory; 0 where there are none.
            past: (B, 16200, 3), the anchors' tag, confidence and age; see `HistoryFusion`.

        Returns:
            means (B, 16200, G, 3), metres, box frame; scales (B, 16200, G, 3), raw; rotations (B, 16200, G, 4), unit
            wxyz; opacities (B, 16200, G), raw; logits (B, 16200, G, 11); features (B, 16200, C). The dense head
            replaces the first five by opacities (B, 16200, 8), the logit of occupied of each voxel, and voxel_logits
            (B, 16200, 8, 11), its class logits. In training mode, `dense_head` adds dense (B, 16200, 8, 12): per-voxel
            class logits, 0 = empty. The voxels of a cell are in C order of (2, 2, 2); see `cells_of`. In training mode,
            the encoder `dual_mamba` adds pixel_logits (B, 11, 30, 40) and cell_logits (B, 16200, 11), class logits of
            pixels and of cells with points of the depth, for pseudo labels.

        Raises:
            ModelError: a network with the dense head is being exported.
        """
        prior = (depth.float(), thickness.float(), intrinsics.float(), pose.float())
        with torch.autocast(depth.device.type, enabled=False):  # bf16 is too coarse for pixels and metres
            code = geometric_code(self.centres, prior[0], spread.float(), cells_of(hits.float()), *prior[1:])
        state = start_state(self.centres, self.config.gaussians)
        cells = self._cells(features, self.code(code), cells_of(hits.float()), prior, (history, past))
        for (x, labels), refinement in zip(cells, self.refinements, strict=True):
            state, hidden = refinement(
                torch.cat([x, code.to(x.dtype)], -1), state, self.centres, pose[:, :3, 3].float()
            )
            outputs = {"features": x.float(), **labels}
        if self.config.head == "gaussians":
            outputs |= _gaussian_outputs(state, depth.shape[0])
        return outputs | self._dense_outputs(hidden)

    def _cells(
        self,
        features: Tensor,
        x: Tensor,
        hits: Tensor,
        prior: tuple[Tensor, Tensor, Tensor, Tensor],
        memory: tuple[Tensor | None, Tensor | None],
    ) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Yield each block's features of the cells, (B, 16200, C), and logits for pseudo labels, if there are any.

        Args:
            features: (B, C, h, w).
            x: (B, 16200, C), the embedded geometric code.
            hits: (B, 16200, 8).
            prior: depth, thickness, intrinsics and pose.
            memory: `history` and `past` of `forward`; they are fused before the last block, or into its cells where
                the encoder is `dual_mamba`.
        """
        history, past = memory
        fusion = self.fusion if history is not None and past is not None else None
        if self.dual_mamba is not None:
            for block, (rows, logits) in enumerate(self.dual_mamba(features, x, self.centres, hits, prior), 1):
                last = block == self.config.blocks
                yield (fusion(rows, history, past) if last and fusion is not None else rows), logits
            return
        for block, (lifter, encoder) in enumerate(zip(self.lifters, self.encoders, strict=True), 1):
            if block == self.config.blocks and fusion is not None:
                x = fusion(x, history, past)
            with torch.autocast(features.device.type, enabled=False):
                lifted = lifter(features.float(), x.float(), self.centres, *prior)
            x = encoder(x + lifted.to(x.dtype))
            yield x, {}

    def _dense_outputs(self, hidden: Tensor) -> dict[str, Tensor]:
        """Outputs of the dense layer: the auxiliary target in training, and the voxels if it is the head."""
        is_head = self.config.head == "dense"
        if self.dense is None or not (self.training or is_head):
            return {}
        logits = self.dense(hidden).float().unflatten(-1, (8, NUM_CLASSES + 1))
        outputs = {"dense": logits} if self.training and self.config.dense_head else {}
        if is_head:
            if torch.onnx.is_in_onnx_export():
                raise ModelError(
                    "a network with the dense head has no Gaussians to export; train one with head: gaussians"
                )
            outputs |= {
                "opacities": torch.logsumexp(logits[..., 1:], -1) - logits[..., 0],
                "voxel_logits": logits[..., 1:],
            }
        return outputs


def _gaussian_outputs(state: GaussianState, batch: int) -> dict[str, Tensor]:
    """The refined Gaussians by name, with unit rotations and one copy of the means per sample."""
    return {
        "means": state.means.expand(batch, -1, -1, -1),
        "scales": state.scales,
        "rotations": state.rotations / state.rotations.norm(dim=-1, keepdim=True).clamp(min=1e-6),
        "opacities": state.opacities,
        "logits": state.logits,
    }


def cells_of(voxels: Tensor) -> Tensor:
    """Group the voxels of the box by cell: (B, 60, 60, 36) to (B, 16200, 8), in the order of `dense` and lattice."""
    split = voxels.reshape(voxels.shape[0], 30, 2, 30, 2, 18, 2)
    return split.permute(0, 1, 3, 5, 2, 4, 6).reshape(voxels.shape[0], -1, 8)


def voxels_of(cells: Tensor) -> Tensor:
    """Inverse of `cells_of` for one sample: (16200, 8, ...) to (60, 60, 36, ...)."""
    tail = tuple(range(6, 5 + cells.dim() - 1))
    split = cells.reshape(30, 30, 18, 2, 2, 2, *cells.shape[2:])
    return split.permute(0, 3, 1, 4, 2, 5, *tail).reshape(60, 60, 36, *cells.shape[2:])


def local_head(outputs: dict[str, Tensor], b: int) -> tuple[Tensor, Tensor]:
    """Compute one sample's voxels of the box, with gradient, from its Gaussians or from the dense head.

    Args:
        outputs: result of `SpatialExpert.forward`.
        b: index of the sample in the batch.

    Returns:
        log_empty (60, 60, 36), class_weights (60, 60, 36, 11): P(occupied) = 1 - exp(log_empty); P(c | occupied) is
        class_weights normalised.
    """
    if "voxel_logits" in outputs:
        opacities = voxels_of(outputs["opacities"][b].float())
        classes = torch.softmax(voxels_of(outputs["voxel_logits"][b].float()), -1)
        return torch.nn.functional.logsigmoid(-opacities), torch.sigmoid(opacities)[..., None] * classes

    from sgrocc_core.gaussians.gaussians import constrain_scales, covariance
    from sgrocc_core.geometry.lattice import BOX_VOXELS
    from sgrocc_core.voxels.splatting import splat_autograd

    covariances = covariance(
        constrain_scales(outputs["scales"][b].float().reshape(-1, 3)), outputs["rotations"][b].float().reshape(-1, 4)
    )
    opacities = torch.sigmoid(outputs["opacities"][b].float().reshape(-1))
    classes = torch.softmax(outputs["logits"][b].float().reshape(-1, NUM_CLASSES), -1)
    means = outputs["means"][b].float().reshape(-1, 3)
    return splat_autograd.splat(means, covariances, opacities, classes, means.new_zeros(3), BOX_VOXELS)
