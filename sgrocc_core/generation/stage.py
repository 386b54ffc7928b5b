"""The stages of training the joint framework, as a `training.stage.Stage`, and the run of one stage."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sgrocc_core.engines.model import find_weights
from sgrocc_core.engines.weights import build_networks
from sgrocc_core.errors import ConfigError, DataError, ModelError
from sgrocc_core.generation.config import STAGES, GenerationConfig
from sgrocc_core.generation.joint import Framework, JointObjective
from sgrocc_core.generation.network.perception import Perception
from sgrocc_core.generation.sampling import as_arrays
from sgrocc_core.generation.views import GroupOptions, ViewGroups, group_loader, pack_groups
from sgrocc_core.network import weights_file
from sgrocc_core.training import distribution
from sgrocc_core.training.checkpoint import read
from sgrocc_core.training.compute import choose, use_threads
from sgrocc_core.training.config import model_sections
from sgrocc_core.training.losses.objectives import Terms, voxel_weights
from sgrocc_core.training.run_log import summary
from sgrocc_core.training.stage import StepInput, Trained
from sgrocc_core.training.trainer import Trainer

COUNTED = 64
"""Grids whose voxels are counted for the class weights (round guess)."""
FITTED = 512
"""Images from which the linear code of patches is computed (round guess)."""
HELD_OUT = 16
"""Groups of a validation (round guess)."""


class GenerationStage:
    """A stage of the joint framework; see `training.stage.Stage` for its attributes and methods.

    Args:
        config: of the framework.
        name: one of `config.STAGES`.
        folders: of decoded groups, see `views.pack_groups`.
        heldout: groups to validate on, or None.
        pretrained: fill the parts that `config.pretrained` has from the user's cache.

    Raises:
        ConfigError: the device is not there.
        DataError: there are no groups.
        ModelError: weights are missing.
    """

    passed_on = "nothing."

    def __init__(
        self, config: GenerationConfig, name: str, folders: list[Path], heldout: Path | None = None,
        pretrained: bool = False,
    ) -> None:  # fmt: skip
        self.config, self.name = config, name
        use_threads(config.threads)
        self.compute = choose(config.device, config.amp and torch.cuda.is_available(), distribution.here().local_rank)
        torch.manual_seed(config.seed)
        self.framework = Framework(config, pretrained).to(self.compute.device)
        self.networks: dict[str, nn.Module] = dict(self.framework.networks)
        if name == "autoencoder":
            self.networks = {"autoencoder.": self.framework.autoencoder}
        self.perception: Perception | None = None
        if name == "joint":
            self.perception = open_perception(config.model).to(self.compute.device)
            self.networks |= {"image.": self.perception.engine, "expert.": self.perception.expert}
        self.trained = self._choose_trained()
        options = GroupOptions(config.views, self.framework.text.read, config.seed, config.no_text)
        self.groups = ViewGroups(folders, options)
        if name == "autoencoder":
            chosen = np.linspace(0, len(self.groups) - 1, min(FITTED, len(self.groups))).astype(int)
            images = np.concatenate([self.groups[(int(i), 0, 0)]["image"][:1] for i in chosen])
            self.framework.autoencoder.fit(torch.from_numpy(images).float().to(self.compute.device) / 255)
        held = dataclasses.replace(options, no_text=0.0, mirror=False)
        self.heldout = None if heldout is None else ViewGroups([heldout], held)

    def _choose_trained(self) -> dict[str, Trained]:
        for network in self.networks.values():
            network.requires_grad_(False)
        config, parts = self.config, {}
        if self.name == "autoencoder":
            parts = {"autoencoder.": Trained(self.framework.autoencoder)}
        else:
            parts = {"alignment.": Trained(self.framework.alignment), "text.": Trained(self.framework.text)}
            if config.train_unet:
                parts["unet."] = Trained(self.framework.unet)
        if self.perception is not None and config.perception:
            parts["expert."] = Trained(self.perception.expert, config.stages["joint"].image_rate)
        for part in parts.values():
            part.module.requires_grad_(True)
        if hasattr(self.framework.text, "clip"):
            self.framework.text.requires_grad_(False)
        return parts

    def objective(self) -> nn.Module:
        """See `Stage`."""
        chosen = np.linspace(0, len(self.groups) - 1, min(COUNTED, len(self.groups))).astype(int)
        grids = [self.groups[(int(i), 0, 0)]["target"] for i in chosen] if self.name == "joint" else []
        counts = sum((np.bincount(grid.ravel(), minlength=256)[:12] for grid in grids), np.ones(12, np.int64))
        weights = voxel_weights(torch.from_numpy(np.asarray(counts)))
        return JointObjective(self.framework, self.perception, self.name, weights).to(self.compute.device)

    def load_data(self) -> ViewGroups:
        """See `Stage`."""
        return self.groups

    def batches(self, data: ViewGroups, step: int) -> Iterator[StepInput]:
        """See `Stage`."""
        settings = self.config.stages[self.name]
        for batch in group_loader(data, settings.batch, step, settings.steps, self.config.workers):
            yield StepInput(batch, settings.batch * self.config.views, len(data))

    def loss(self, objective: nn.Module, values: dict[str, Tensor], step: int) -> Terms:
        """See `Stage`."""
        objective.train()
        if self.perception is not None:
            self.perception.engine.eval()
        with self.compute.autocast():
            terms: Terms = objective(self.compute.move(values), self.config.seed, step)
        return terms

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """See `Stage`; the loss on held-out groups, at the same noise every time."""
        if self.heldout is None:
            return {}
        objective = JointObjective(self.framework, self.perception, self.name, torch.ones(12)).eval()
        objective.to(self.compute.device)
        moments = [self.framework.autoencoder.mean.clone(), self.framework.autoencoder.deviation.clone()]
        sums: dict[str, list[float]] = {}
        for step, i in enumerate(np.linspace(0, len(self.heldout) - 1, min(HELD_OUT, len(self.heldout))).astype(int)):
            item = self.heldout[(int(i), 0, 0)]
            batch = {name: torch.from_numpy(value)[None] for name, value in item.items()}
            for name, value in objective(self.compute.move(batch), 0, step).items():
                sums.setdefault(name, []).append(float(value))
        self.framework.autoencoder.mean.copy_(moments[0])
        self.framework.autoencoder.deviation.copy_(moments[1])
        return {name: float(np.mean(values)) for name, values in sums.items()}


def open_perception(model: str, weights: Path | None = None) -> Perception:
    """Open the trained spatial expert of a model.

    Args:
        model: name under config/models and models.
        weights: file with `image.*` and `expert.*`; None: the model's own.

    Raises:
        ModelError: there are no weights.
    """
    engine, expert = build_networks(model_sections(model))
    path = weights or find_weights(model)
    if not path.is_file():
        raise ModelError(f"there are no weights of the model {model}: {path} does not exist")
    tensors = weights_file.read_weights(path)
    for prefix, network in (("image.", engine), ("expert.", expert)):
        if not weights_file.load_weights(network, tensors, prefix, path):
            raise ModelError(f"{path} has no tensor {prefix}*: it holds no weights of that network")
    return Perception(engine.eval(), expert.eval())


def open_framework(config: GenerationConfig, weights: Path) -> tuple[Framework, Perception]:
    """Open trained networks.

    Args:
        config: with which they were trained.
        weights: file of `train_generation`; the expert in it, if any, replaces the model's own.

    Raises:
        ModelError: the weights are missing or do not fit the configuration.
    """
    if not weights.is_file():
        raise ModelError(
            f"there are no weights {weights} of the generation: train them with `sgrocc train generation`, and give "
            "--weights FILE with its --config YAML"
        )
    use_threads(config.threads)
    framework, perception = Framework(config), open_perception(config.model)
    tensors = weights_file.read_weights(weights)
    for prefix, network in framework.networks.items():
        if not weights_file.load_weights(network, tensors, prefix, weights):
            raise ModelError(f"{weights} has no tensor {prefix}*: it is not of the stages alignment or joint")
    weights_file.load_weights(perception.expert, tensors, "expert.", weights)
    return framework.eval(), perception.eval()


@torch.no_grad()
def read_images(perception: Perception, item: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Read depth and classes of the images of a group.

    Args:
        perception: with the image engine.
        item: of `ViewGroups`.

    Returns:
        (V, H, W) float32, metres; (V, H, W) uint8.
    """
    batch = {name: torch.from_numpy(item[name]) for name in ("image", "K", "pose", "gravity")}
    images = batch["image"].float() / 255
    seen, _ = perception(images, batch["K"], batch["pose"], batch["gravity"])
    _, depth, labels = as_arrays(images, seen, (images.shape[3], images.shape[2]))
    return depth, labels


def train_generation(
    config: GenerationConfig, stage: str, data: list[Path], out: Path, heldout: Path | None = None,
    start: Path | None = None, resume: bool = False,
) -> Path:  # fmt: skip
    """Train one stage of the joint framework.

    Args:
        config: of the framework.
        stage: one of `config.STAGES`.
        data: sets in the layout of Occ-ScanNet.
        out: folder of the run.
        heldout: set to validate on, or None.
        start: weights of the stage before; `none`: random ones; None: of the stage before in `out`.
        resume: continue from the stage's checkpoint, if there is one.

    Returns:
        path of the averaged weights.

    Raises:
        DataError: weights of the stage before are missing.
    """
    folders = [pack_groups(root, "train", config.size) for root in data]
    held = None if heldout is None else pack_groups(heldout, "test", config.size)
    pretrained = bool(config.pretrained) and str(start) != "none"
    views = GenerationStage(config, stage, folders, held, pretrained)
    trainer = Trainer(config, views, out)
    if resume and trainer.checkpoint_path.is_file():
        trainer.resume()
        begun = f"resumed at step {trainer.step}, after {trainer.seconds / 60:.1f} min"
    else:
        before = _before(stage, out, start, pretrained)
        loaded = [] if before is None else trainer.warm_start(before)
        begun = f"starts from {before} ({', '.join(loaded)})" if loaded else "starts from random weights"
    print(f"stage {stage}: {begun}; {views.compute.description}; {len(views.groups)} views")
    figures: dict[str, Any] = trainer.run()
    result = out / f"{stage}.weights.safetensors"
    write_halved(views.networks, trainer.average, out / "imagine.safetensors")
    _, state = read(trainer.checkpoint_path)
    (out / f"{stage}.result.json").write_text(json.dumps({**state, "figures": figures}, indent=1))
    texts = [f"{trainer.step} steps in {trainer.seconds / 60:.1f} min", summary(figures), f"weights in {result}"]
    print(f"stage {stage}: {'; '.join(text for text in texts if text)}")
    return result


def write_halved(networks: dict[str, nn.Module], average: dict[str, Tensor], path: Path) -> None:
    """Write the weights of all networks but the image engine in half precision, for `sgrocc imagine`.

    Args:
        networks: by prefix.
        average: values in place of the networks' own, by name.
        path: of the file.
    """
    own = {prefix: network for prefix, network in networks.items() if prefix != "image."}
    names = [prefix + name for prefix, network in own.items() for name in network.state_dict()]
    values = {prefix + name: value for prefix, network in own.items() for name, value in network.state_dict().items()}
    values |= {name: average[name] for name in names if name in average}
    halved = {name: value.half() if value.is_floating_point() else value for name, value in values.items()}
    weights_file.save_model(path, {}, halved)


def _before(stage: str, out: Path, start: Path | None, pretrained: bool) -> Path | None:
    """The weights that a stage starts from; None for random or pretrained ones."""
    if stage not in STAGES:
        raise ConfigError(f"stage is {stage!r}; the stages are {', '.join(STAGES)}")
    if str(start) == "none":
        return None
    if start is None:
        if stage == STAGES[0] or (pretrained and stage == "alignment"):
            return None
        start = out / f"{STAGES[STAGES.index(stage) - 1]}.weights.safetensors"
    if not start.is_file():
        raise DataError(
            f"stage {stage} starts from {start}, which does not exist: train the stage before, or give --start"
        )
    return start
