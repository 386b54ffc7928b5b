"""The networks of the joint framework and the loss of one training step of each stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sgrocc_core.generation.config import GenerationConfig
from sgrocc_core.generation.network.alignment import Cameras, DualAlignment
from sgrocc_core.generation.network.diffusion import NOISE_LEVELS, ImageAutoencoder, Noise, build_unet
from sgrocc_core.generation.network.perception import Perception, one_hot
from sgrocc_core.generation.network.text import build_text
from sgrocc_core.training.losses.objectives import LocalWeights, Terms, draws, local_objective

EARLIER = 150
"""The occupancy that conditions a step in stage `joint` is read at a noise level up to this much higher, since in
sampling it comes from the step before (round guess)."""
DAMAGE = 0.3
"""Largest share of voxels that are emptied, and of images that are noisy, where the true occupancy is the condition."""


class Framework(nn.Module):
    """All networks of the generation: autoencoder, text encoder, U-Net and alignment.

    Args:
        config: of the framework.
        pretrained: fill the parts that `config.pretrained` has from the user's cache.

    Raises:
        ModelError: weights are not installed or not in the cache.
    """

    def __init__(self, config: GenerationConfig, pretrained: bool = False) -> None:
        super().__init__()
        self.config = config
        self.autoencoder = ImageAutoencoder(config, pretrained)
        self.text: Any = build_text(config, pretrained)
        self.unet: Any = build_unet(config, pretrained)
        self.alignment = DualAlignment(
            config.latents, config.latent_size, config.stride, config.unet_channels, config.alignment_channels,
            config.alignment_width, config.depths, config.taps,
        )  # fmt: skip
        self.noise = Noise(pretrained and bool(config.pretrained))

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks by the prefix of their weights' names."""
        return {"autoencoder.": self.autoencoder, "text.": self.text, "unet.": self.unet, "alignment.": self.alignment}

    def predict(
        self, noisy: Tensor, levels: Tensor, tokens: Tensor, occupancy: Tensor | None, cameras: Cameras,
        known: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Predict the velocity of noisy latents.

        Args:
            noisy: (B V, C, h, w).
            levels: (B V,) noise levels.
            tokens: (B, L, T) of the texts.
            occupancy: (B, 12, 60, 60, 36), probabilities of the labels; None: there is none yet.
            cameras: of B scenes.
            known: (B,) 1 where the occupancy is used; None: everywhere.

        Returns:
            (B V, C, h, w).
        """
        views = cameras.K.shape[1]
        added = None
        if occupancy is not None and self.config.aligned:
            known = torch.ones(len(occupancy), device=noisy.device) if known is None else known
            added = self.alignment(noisy, occupancy, cameras, known)
        tokens = tokens.repeat_interleave(views, 0)
        out: Tensor = self.unet(noisy, levels, tokens, down_intrablock_additional_residuals=added).sample
        return out


class JointObjective(nn.Module):
    """The loss of a step of a stage.

    Args:
        framework: the networks of the generation.
        perception: the spatial expert on images; None in stage `autoencoder`.
        stage: `autoencoder`, `alignment` or `joint`.
        label_weights: (12,) weights of the labels in the grid.
    """

    label_weights: Tensor

    def __init__(self, framework: Framework, perception: Perception | None, stage: str, label_weights: Tensor) -> None:
        super().__init__()
        self.framework, self.perception, self.stage = framework, perception, stage
        self.config, self.noise = framework.config, framework.noise
        self.losses = LocalWeights(regularisation_kind="none", dense=0.0)
        self.register_buffer("label_weights", label_weights, persistent=False)

    def forward(self, batch: dict[str, Tensor], seed: int, step: int) -> Terms:
        """Compute the terms of the loss.

        Args:
            batch: of `views.group_loader`, on the device.
            seed: of the run.
            step: number of steps taken.
        """
        images = batch["image"].flatten(0, 1).float() / 255
        if self.stage == "autoencoder":
            return self.framework.autoencoder.losses(images)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        with torch.no_grad():
            latents = self.framework.autoencoder.encode(images)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        batch_size, views = batch["K"].shape[:2]
        scene_levels = torch.randint(NOISE_LEVELS, (batch_size,), generator=generator).to(latents.device)
        levels = scene_levels.repeat_interleave(views)
        noisy = self.noise.add(latents, noise, levels)
        cameras, tokens = Cameras(batch["K"], batch["pose"]), self.framework.text(batch["text"])
        known = (torch.rand(batch_size, generator=generator) >= self.config.no_occupancy).to(latents)
        if self.stage == "alignment":
            occupancy = damaged(one_hot(batch["target"]), generator)
        else:
            occupancy = self._read_before(latents, noise, scene_levels, tokens, batch, generator)
        predicted = self.framework.predict(noisy, levels, tokens, occupancy, cameras, known)
        terms = {"generation": (predicted - self.noise.target(latents, noise, levels)).square().mean()}
        if self.stage == "joint" and self.config.perception:
            clean = self.noise.clean(noisy, predicted, levels)
            terms |= self._perceived(self.framework.autoencoder.decode(clean), levels, batch, seed, step)
        return terms

    @torch.no_grad()
    def _read_before(
        self, latents: Tensor, noise: Tensor, levels: Tensor, tokens: Tensor, batch: dict[str, Tensor],
        generator: torch.Generator,
    ) -> Tensor:  # fmt: skip
        """The occupancy that the expert reads from the estimate of the denoising step before, (B, 12, 60, 60, 36)."""
        assert self.perception is not None
        more = torch.randint(EARLIER + 1, levels.shape, generator=generator).to(levels)
        views = batch["K"].shape[1]
        earlier = (levels + more).clamp(max=NOISE_LEVELS - 1).repeat_interleave(views)
        noisy = self.noise.add(latents, noise, earlier)
        cameras = Cameras(batch["K"], batch["pose"])
        # That step was itself conditioned on an occupancy; the truth stands for it in half of the samples.
        known = (torch.rand(len(levels), generator=generator) < 0.5).to(latents)
        predicted = self.framework.predict(noisy, earlier, tokens, one_hot(batch["target"]), cameras, known)
        return read_occupancy(self.framework, self.perception, self.noise.clean(noisy, predicted, earlier), batch)[0]

    def _perceived(
        self, images: Tensor, levels: Tensor, batch: dict[str, Tensor], seed: int, step: int
    ) -> dict[str, Tensor]:
        """The perception losses on the decoded estimate, weighted by its share of signal."""
        assert self.perception is not None
        views = batch["K"].shape[1]
        _, found = self.perception(images, *(batch[name].flatten(0, 1) for name in ("K", "pose", "gravity")))
        truth = {"target": batch["target"].repeat_interleave(views, 0), "state": batch["state"].flatten(0, 1)}
        terms: dict[str, Tensor] = {}
        signal = self.noise.signal(levels).flatten()
        for b, generator in enumerate(draws(seed, step, range(len(images)))):
            own = {name: value[b : b + 1] for name, value in found.items()}
            of_view = local_objective(
                own,
                {name: value[b : b + 1] for name, value in truth.items()},
                self.label_weights,
                self.losses,
                [generator],
            )
            for name, value in of_view.items():
                terms[name] = terms.get(name, 0) + self.config.perception * signal[b] * value / len(images)
        return terms


def damaged(occupancy: Tensor, generator: torch.Generator) -> Tensor:
    """Empty a random share of the cells of true occupancy, so that the U-Net learns that a condition may be wrong.

    Args:
        occupancy: (B, 12, 60, 60, 36), one-hot.
        generator: on the CPU.
    """
    share = DAMAGE * torch.rand(len(occupancy), 1, 1, 1, 1, generator=generator)
    shape = [len(occupancy), 1, *(edge // 6 for edge in occupancy.shape[2:])]
    lost = (torch.rand(shape, generator=generator) < share).float().to(occupancy)
    lost = nn.functional.interpolate(lost, occupancy.shape[2:], mode="nearest")
    empty = torch.zeros_like(occupancy)
    empty[:, 0] = 1
    return torch.where(lost > 0, empty, occupancy)


@torch.no_grad()
def read_occupancy(
    framework: Framework, perception: Perception, clean: Tensor, batch: dict[str, Tensor]
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Decode latents and read their occupancy.

    Args:
        framework: with the autoencoder.
        perception: the spatial expert on images.
        clean: (B V, C, h, w), estimate of the clean latents.
        batch: with K (B, V, 4), pose (B, V, 4, 4) and gravity (B, V, 3, 3).

    Returns:
        (B, 12, 60, 60, 36), probabilities of the labels in the shared box; the images (B V, 3, H, W), 0 to 1; the image
        engine's outputs.
    """
    training = perception.expert.training
    perception.eval()
    images = framework.autoencoder.decode(clean)
    seen, found = perception(images, *(batch[name].flatten(0, 1) for name in ("K", "pose", "gravity")))
    cameras = Cameras(batch["K"], batch["pose"])
    occupancy = perception.shared(found, cameras, (images.shape[-2], images.shape[-1]))
    perception.expert.train(training)  # the image engine's batch statistics stay as they are
    return occupancy, images, seen


def shapes(framework: Framework, views: int = 2) -> dict[str, Sequence[int]]:
    """Returns the shapes that cross the borders between the networks, by name, for one scene.

    Args:
        framework: its networks; on the device `meta`, nothing is computed.
        views: of the scene.
    """
    config, device = framework.config, next(framework.unet.parameters()).device
    image = torch.zeros(views, 3, config.size[1], config.size[0], device=device)
    found: dict[str, Sequence[int]] = {"image": image.shape}
    latents = framework.autoencoder.encode(image)
    text = torch.from_numpy(framework.text.read("a room"))[None].to(device)
    tokens = framework.text(text)
    cameras = Cameras(torch.zeros(1, views, 4, device=device), torch.zeros(1, views, 4, 4, device=device))
    occupancy = torch.zeros(1, 12, 60, 60, 36, device=device)
    added = framework.alignment(latents, occupancy, cameras, torch.ones(1, device=device))
    levels = torch.zeros(views, dtype=torch.long, device=device)
    predicted = framework.predict(latents, levels, tokens, occupancy, cameras)
    found |= {"latents": latents.shape, "text": text.shape, "tokens": tokens.shape, "occupancy": occupancy.shape}
    found |= {f"alignment level {k}": value.shape for k, value in enumerate(added)}
    found |= {"prediction": predicted.shape, "decoded": framework.autoencoder.decode(predicted).shape}
    return {name: list(shape) for name, shape in found.items()}


Step = Callable[[int, Tensor], None]
"""Called after a denoising step with the number of steps done and the images so far."""
