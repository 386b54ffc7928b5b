"""The stage `stereo`: trains matching features and regulariser on clips of videos, on a frozen image engine."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import nn

from sgrocc_core.errors import DataError
from sgrocc_core.evaluation.local import spread_evenly
from sgrocc_core.network.stereo.network import StereoNetwork, build_stereo
from sgrocc_core.training import distribution
from sgrocc_core.training.compute import choose
from sgrocc_core.training.config import TrainConfig
from sgrocc_core.training.data.dataset import Batch
from sgrocc_core.training.local.stage import dataset_options
from sgrocc_core.training.losses.objectives import Terms
from sgrocc_core.training.stage import StepInput, Trained, make_networks, on_device
from sgrocc_core.training.stereo.clips import ClipOptions, Clips, clip_loader
from sgrocc_core.training.stereo.look import look_at_videos
from sgrocc_core.training.stereo.step import StereoObjective

LOOKS = 50
"""How often processes look for the same videos before they give up."""


class StereoStage:
    """The training of stereo; see `stage.Stage` for its attributes and methods.

    Args:
        config: of the whole run.
        folders: packed training videos.
        heldout: packed videos to validate on, or None.
        rescan: called by the first process before it looks for videos; may pack new ones.

    Raises:
        ConfigError: the device is not there, or a value of the networks' configuration is not allowed.
    """

    name, passed_on = "stereo", "expert."

    def __init__(
        self, config: TrainConfig, folders: list[Path], heldout: Path | None, rescan: Callable[[], None] | None = None
    ) -> None:
        self.config, self.folders, self.heldout, self.rescan = config, folders, heldout, rescan
        self.processes = distribution.here()
        self.compute = choose(config.device, config.amp, self.processes.local_rank)
        self.engine, _ = make_networks(config, self.compute)
        self.engine.requires_grad_(False)
        stereo = build_stereo(config.stereo, self.engine)
        self.stereo: StereoNetwork = on_device(stereo, self.compute)  # type: ignore[assignment]
        self.networks: dict[str, nn.Module] = {"image.": self.engine, "stereo.": self.stereo}
        self.trained = {"stereo.": Trained(self.stereo)}
        options = dataset_options(config, grid=False)
        self.options = ClipOptions(config.clip, True, config.seed, options.input_size, options.head_stride, "trained")

    def objective(self) -> nn.Module:
        """See `Stage`."""
        return StereoObjective(self.engine, self.stereo, self.compute)

    def load_data(self) -> Clips:
        """See `Stage`."""
        where = ", ".join(map(str, self.folders))
        for _ in range(LOOKS):
            if self.rescan is not None and self.processes.first:
                self.rescan()
            distribution.wait_for_all()
            clips = Clips(self.folders, self.options)
            names = hashlib.sha256("".join(map(str, clips.scenes)).encode()).hexdigest()
            if distribution.same_everywhere([len(clips), names]):
                if not len(clips):
                    raise DataError(f"no videos under {where}; make some with `sgrocc synth --video`")
                return clips
            time.sleep(0.2)
        raise DataError(f"the processes find different videos under {where}; all must see the same files")

    def batches(self, data: Clips, step: int) -> Iterator[StepInput]:
        """See `Stage`; until videos are looked for again."""
        settings, every = self.config.stages[self.name], self.config.rescan_steps
        last = min(settings.steps, (step // every + 1) * every)
        whole = clip_loader(data, settings.batch, step, last, self.config.workers)
        for batch in distribution.shared_loader(whole, self.processes, settings.batch):
            yield StepInput(batch, settings.batch * self.config.clip.views, len(data))

    def loss(self, objective: nn.Module, values: Batch, step: int) -> Terms:
        """See `Stage`."""
        size = len(values["image"])
        places = range(self.processes.rank * size, (self.processes.rank + 1) * size)
        terms: Terms = objective(self.compute.move(values), self.config.seed, step, places)
        return terms

    def validate(self) -> dict[str, float]:
        """See `Stage`; figures as of `look_at_videos`."""
        if self.heldout is None:
            return {}
        clips = Clips([self.heldout], dataclasses.replace(self.options, augment=False, seed=0, which="all"))
        chosen = spread_evenly(list(range(len(clips))), self.config.clip.validation_videos)
        mine = chosen[self.processes.rank :: self.processes.count]
        return look_at_videos(self.engine, self.stereo, clips, mine, self.compute)
