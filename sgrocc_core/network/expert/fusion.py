"""Identity-initialised fusion of an anchor's feature with its history (Eq. 4, 5).

f = W_cur f_cur + W_hist phi([f_hist, tag, C, age]), initially with W_cur = I and W_hist = 0. Before training, the
expert's output is therefore exactly that of the single image, whatever the history contains.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FUSIONS = ("identity", "random", "none")


class HistoryFusion(nn.Module):
    """Eq. 4 and 5 for all anchors of a box.

    Args:
        channels: of the features.
        hidden: width of phi's hidden layer.
        start: `identity` (Eq. 5), or `random` for ablations: both matrices keep PyTorch's default initialisation.
    """

    def __init__(self, channels: int, hidden: int = 64, start: str = "identity") -> None:
        super().__init__()
        self.current = nn.Linear(channels, channels, bias=False)
        self.history = nn.Linear(channels, channels, bias=False)
        self.phi = nn.Sequential(nn.Linear(channels + 3, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        if start == "identity":
            with torch.no_grad():
                self.current.weight.copy_(torch.eye(channels))
                self.history.weight.zero_()

    def forward(self, current: Tensor, history: Tensor, past: Tensor) -> Tensor:
        """Fuse the current features with their history.

        Args:
            current: (B, N, C), features of this image.
            history: (B, N, C), features in the memory, finite (0 where there are none).
            past: (B, N, 3): tag (1 where the anchor was refined in view before); confidence C of Eq. 8, 0 to 1; age,
                seconds since the anchor's last update, >= 0.

        Returns:
            (B, N, C).
        """
        state = torch.cat([past[..., :2], torch.log(1.0 + past[..., 2:])], -1)
        return self.current(current) + self.history(self.phi(torch.cat([history, state], -1).to(current.dtype)))
