"""The image autoencoder and the noise of the latent diffusion model, on the classes of `diffusers`."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from sgrocc_core.generation.config import GenerationConfig
from sgrocc_core.generation.network.text import not_cached

NOISE_LEVELS = 1000
JITTER = 0.05
"""Noise added to the code in training, as a share of its deviation: the decoder learns to bear small errors of the
U-Net (round guess)."""
EDGE_WEIGHT = 1.0
"""Weight of the error of the image's differences between neighbouring pixels, which sharpens edges (round guess)."""
FOLLOW = 0.01
"""Share of a new batch in the running moments of the code."""


class ImageAutoencoder(nn.Module):
    """Images to latents of mean 0 and mean deviation 1, and back.

    One that is trained here starts from the best linear code of patches, their principal components, and its network
    learns what that code leaves over: so it is of use after minutes on a CPU, not after days.

    Args:
        config: of the framework.
        pretrained: fill it from the user's cache.

    Raises:
        ModelError: the pretrained model is not in the cache.
    """

    mean: Tensor
    deviation: Tensor
    components: Tensor
    average: Tensor

    def __init__(self, config: GenerationConfig, pretrained: bool = False) -> None:
        super().__init__()
        self.patch, self.stride = config.patch, config.stride
        self.net: Any
        if pretrained and config.pretrained:
            self.net = _from_cache(AutoencoderKL, config.pretrained, "vae")
        else:
            levels, folded = len(config.autoencoder_channels), 3 * config.patch**2
            self.net = AutoencoderKL(
                in_channels=folded, out_channels=folded, latent_channels=config.latents,
                down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
                block_out_channels=config.autoencoder_channels, layers_per_block=config.unet_layers,
                norm_num_groups=config.groups, mid_block_add_attention=bool(config.pretrained),
            )  # fmt: skip
            for layer in (self.net.encoder.conv_out, self.net.decoder.conv_out):
                nn.init.zeros_(layer.weight)
        scale = 1 / float(self.net.config["scaling_factor"]) if config.pretrained else 1.0
        self.register_buffer("mean", torch.zeros(1, config.latents, 1, 1))
        self.register_buffer("deviation", torch.full((1, config.latents, 1, 1), scale))
        self.linear = not config.pretrained
        if self.linear:
            self.register_buffer("components", torch.zeros(config.latents, 3, config.stride, config.stride))
            self.register_buffer("average", torch.zeros(1, 3, 1, 1))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Compute the linear code of patches from images (N, 3, H, W), 0 to 1."""
        pixels = 2 * images - 1
        self.average.copy_(pixels.mean((0, 2, 3), keepdim=True))
        patches = F.unfold(pixels - self.average, self.stride, stride=self.stride).transpose(1, 2).flatten(0, 1)
        _, _, axes = torch.linalg.svd(patches.T @ patches)
        self.components.copy_(axes[: len(self.components)].view_as(self.components))
        code = self._code(images)
        self.mean.copy_(code.mean((0, 2, 3), keepdim=True))
        self.deviation.copy_(_softened(code))

    def _code(self, images: Tensor) -> Tensor:
        pixels = 2 * images - 1
        code: Tensor = self.net.encode(F.pixel_unshuffle(pixels, self.patch)).latent_dist.mode()
        if self.linear:
            code = code + F.conv2d(pixels - self.average, self.components, stride=self.stride)
        return code

    def _pixels(self, code: Tensor) -> Tensor:
        pixels = F.pixel_shuffle(self.net.decode(code).sample, self.patch)
        if self.linear:
            pixels = pixels + self.average + F.conv_transpose2d(code, self.components, stride=self.stride)
        return pixels

    def encode(self, images: Tensor) -> Tensor:
        """Returns the latents (B, C, h, w) of images (B, 3, H, W), 0 to 1."""
        return (self._code(images) - self.mean) / self.deviation

    def decode(self, latents: Tensor) -> Tensor:
        """Returns the images (B, 3, H, W), 0 to 1, of latents (B, C, h, w)."""
        return (self._pixels(latents * self.deviation + self.mean) / 2 + 0.5).clamp(0, 1)

    def losses(self, images: Tensor) -> dict[str, Tensor]:
        """Returns the terms of the reconstruction loss and follows the moments of the code.

        Args:
            images: (B, 3, H, W), 0 to 1.
        """
        code = self._code(images)
        with torch.no_grad():
            self.mean.lerp_(code.mean((0, 2, 3), keepdim=True), FOLLOW)
            self.deviation.lerp_(_softened(code), FOLLOW)
            jitter = JITTER * self.deviation * torch.randn_like(code)
        error = self._pixels(code + jitter) - (2 * images - 1)
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        return {"reconstruction": error.abs().mean(), "edges": EDGE_WEIGHT * edges}


def _softened(code: Tensor) -> Tensor:
    """Scale of each channel, (1, C, 1, 1): between its own deviation and that of all.

    Channels of fine detail, which can hardly be predicted, thus weigh less in the U-Net's loss than those of light and
    colour, which are seen first.
    """
    own = code.std((0, 2, 3), keepdim=True)
    return (own * own.mean()).sqrt()


def build_unet(config: GenerationConfig, pretrained: bool = False) -> Any:
    """Build the U-Net, conditioned on text by cross-attention.

    Args:
        config: of the framework.
        pretrained: fill it from the user's cache.

    Raises:
        ModelError: the pretrained model is not in the cache.
    """
    if pretrained and config.pretrained:
        return _from_cache(UNet2DConditionModel, config.pretrained, "unet")
    levels = len(config.unet_channels)
    attends = [True] * (levels - 1) + [config.deepest_attends]
    return UNet2DConditionModel(
        sample_size=config.latent_size, in_channels=config.latents, out_channels=config.latents,
        down_block_types=tuple("CrossAttnDownBlock2D" if here else "DownBlock2D" for here in attends),
        up_block_types=tuple("CrossAttnUpBlock2D" if here else "UpBlock2D" for here in reversed(attends)),
        block_out_channels=config.unet_channels, layers_per_block=config.unet_layers,
        cross_attention_dim=config.text_width, attention_head_dim=config.heads, norm_num_groups=config.groups,
    )  # fmt: skip


class Noise:
    """The noise levels: what is added in training, and the estimate of the clean latents.

    The U-Net predicts velocity, v = sqrt(a) noise - sqrt(1 - a) latents (Salimans and Ho, 2022), or noise where it is a
    pretrained one.

    Args:
        pretrained: noise levels of Stable Diffusion.
    """

    def __init__(self, pretrained: bool = False) -> None:
        # Zero signal at the last level, so that sampling starts where training ends.
        own = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}
        known = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
        self.scheduler: Any = DDIMScheduler(
            NOISE_LEVELS, clip_sample=False, set_alpha_to_one=False, timestep_spacing="trailing",
            **(known if pretrained else own),
        )  # fmt: skip
        self.velocity = not pretrained

    def signal(self, levels: Tensor) -> Tensor:
        """Returns a, the share of the signal in the variance, (B, 1, 1, 1), of noise levels (B,)."""
        return self.scheduler.alphas_cumprod.to(levels.device)[levels].view(-1, 1, 1, 1)

    def add(self, latents: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """Returns noisy latents (B, C, h, w)."""
        a = self.signal(levels)
        return a.sqrt() * latents + (1 - a).sqrt() * noise

    def target(self, latents: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """Returns what the U-Net has to predict, (B, C, h, w)."""
        a = self.signal(levels)
        return a.sqrt() * noise - (1 - a).sqrt() * latents if self.velocity else noise

    def clean(self, noisy: Tensor, predicted: Tensor, levels: Tensor) -> Tensor:
        """Returns the estimate of the clean latents (B, C, h, w) from the U-Net's prediction."""
        a = self.signal(levels)
        if self.velocity:
            return a.sqrt() * noisy - (1 - a).sqrt() * predicted
        return (noisy - (1 - a).sqrt() * predicted) / a.sqrt()


def _from_cache(cls: type, name: str, part: str) -> nn.Module:
    try:
        found: nn.Module = cls.from_pretrained(name, subfolder=part, local_files_only=True)  # type: ignore[attr-defined]
    except (OSError, ValueError) as error:
        raise not_cached(name) from error
    return found
