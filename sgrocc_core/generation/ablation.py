"""`sgrocc ablate generation`: what occupancy and perception do for the images, and imagined rooms for perception.

Runs are kept in the folder of the runs and not repeated; an interrupted one is resumed from its checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from sgrocc_core.classes import NAMES
from sgrocc_core.data.occ_scannet import OccScanNet
from sgrocc_core.errors import ConfigError
from sgrocc_core.evaluation.local import evaluate_local, spread_evenly
from sgrocc_core.evaluation.models import open_weights
from sgrocc_core.generation.album import write_room
from sgrocc_core.generation.captions import asked_classes, caption_of_view, classes_in
from sgrocc_core.generation.config import GenerationConfig, load_generation
from sgrocc_core.generation.joint import Framework
from sgrocc_core.generation.network.perception import Perception
from sgrocc_core.generation.sampling import Views, imagine, look_around
from sgrocc_core.generation.scores import agreement, backbone_features, frechet, project_labels
from sgrocc_core.generation.stage import open_framework, open_perception, read_images, train_generation
from sgrocc_core.generation.views import GroupOptions, ViewGroups, pack_groups
from sgrocc_core.network import weights_file
from sgrocc_core.progress import progress
from sgrocc_core.training.ablations.ablation import Ablation, Variant
from sgrocc_core.training.ablations.findings import Results
from sgrocc_core.training.ablations.task import Options
from sgrocc_core.training.ablations.training import begin
from sgrocc_core.training.compute import use_threads
from sgrocc_core.training.config import load_config, network_sections
from sgrocc_core.training.local.stage import LocalStage
from sgrocc_core.training.session import pack_split, packed_folder
from sgrocc_core.training.trainer import Trainer

JOINT_SHARE = 0.25
"""Share of the budget in stage `joint`; its steps are several times as long (round guess)."""
ROOMS, VIEWS = 48, 4
"""Imagined rooms for training perception, and views of each (round guess)."""
SCORED_VIEWS = 2
"""Views of each scored prompt (round guess)."""


def run_generation(ablation: Ablation, options: Options, prompts: list[str]) -> tuple[Results, dict[str, Any]]:
    """Train and score the variants of the generation.

    Args:
        ablation: the variants.
        options: `config` is of generation, `weights` hold the autoencoder that all variants share.
        prompts: that are scored.

    Returns:
        the results, and the facts for the report.

    Raises:
        ConfigError: there are no weights of an autoencoder.
    """
    base = load_generation(options.config)
    options.out.mkdir(parents=True, exist_ok=True)
    start = _shared_autoencoder(options)
    held = ViewGroups([pack_groups(options.heldout, "test", base.size)], GroupOptions(1, _no_text, mirror=False))
    chosen = [prompts[i] for i in spread_evenly(list(range(len(prompts))), options.limit)]

    def score(variant: Variant, seed: int, folder: Path) -> dict[str, Any]:
        config = _of_variant(base, variant, seed, options)
        weights = start
        for stage in ("alignment", "joint"):
            weights = train_generation(config, stage, list(options.data), folder, None, weights, resume=True)
        return score_generation(*open_framework(config, folder / "imagine.safetensors"), chosen, held, seed)

    results = _results(ablation, options, score, {"prompts": len(chosen), "budget": options.budget})
    real = real_agreement(held, open_perception(base.model))
    facts = {
        "training": f"{options.budget} steps, {JOINT_SHARE:.0%} of them in stage joint",
        "evaluation": f"{len(chosen)} prompts, {SCORED_VIEWS} views each, {base.steps} denoising steps",
        "agreement of held-out renders with their true voxels": f"{100 * real:.1f} %",
    }
    return results, facts


def _no_text(text: str) -> np.ndarray:
    return np.zeros(1, np.float32)


def _shared_autoencoder(options: Options) -> Path:
    if options.weights is None:
        raise ConfigError(
            "the variants share an autoencoder: give its weights with --weights (`sgrocc train generation`)"
        )
    tensors = weights_file.read_weights(options.weights)
    own = {name: value.float() for name, value in tensors.items() if name.startswith("autoencoder.")}
    if not own:
        raise ConfigError(f"{options.weights} holds no autoencoder: no tensor's name begins with autoencoder.")
    save_file(own, options.out / "autoencoder.safetensors")
    return options.out / "autoencoder.safetensors"


def _of_variant(base: GenerationConfig, variant: Variant, seed: int, options: Options) -> GenerationConfig:
    joint = max(1, round(JOINT_SHARE * options.budget))
    steps = {"alignment": max(1, options.budget - joint), "joint": joint}
    stages = {
        name: dataclasses.replace(stage, minutes=0.0, steps=steps.get(name, stage.steps))
        for name, stage in base.stages.items()
    }
    threads = options.threads or base.threads
    try:
        return dataclasses.replace(base, **variant.overrides, seed=seed, stages=stages, threads=threads)
    except TypeError as error:
        raise ConfigError(f"variant {variant.name!r}: {error}") from error


def _results(
    ablation: Ablation,
    options: Options,
    score: Callable[[Variant, int, Path], dict[str, Any]],
    settings: dict[str, Any],
) -> Results:
    """The reports of all runs, from their files where these have the same settings."""
    results: Results = {variant.name: {} for variant in ablation.variants}
    for seed in range(1, options.seeds + 1):
        for variant in ablation.variants:
            folder = options.out / ablation.name / variant.name / f"seed_{seed}"
            path, own = folder / "report.json", {**settings, "variant": variant.overrides}
            found = json.loads(path.read_text()) if path.is_file() else {}
            if found.get("settings") != own:
                folder.mkdir(parents=True, exist_ok=True)
                found = {"settings": own, "report": score(variant, seed, folder)}
                path.write_text(json.dumps(found, indent=1))
            results[variant.name][seed] = found
    return results


def score_generation(
    framework: Framework, perception: Perception, prompts: list[str], held: ViewGroups, seed: int
) -> dict[str, Any]:
    """Score trained networks on prompts.

    Args:
        framework: the generation.
        perception: the spatial expert on images.
        prompts: of rooms.
        held: held-out views, for the Fréchet distance.
        seed: of the sampling.

    Returns:
        under `rooms`: present, agreement and frechet (in hundredths, since reports are in percent).
    """
    views = look_around(SCORED_VIEWS, framework.config.size)
    present, agreements, images = [], [], []
    for number, prompt in enumerate(progress(prompts, desc="prompts", unit="prompt")):
        room = imagine(framework, perception, prompt, views, 1000 * seed + number)
        asked = asked_classes(prompt)
        if asked:
            present.append(len(asked & classes_in(room.voxels)) / len(asked))
        agreements.append(agreement(room.labels, projected(room.voxels, views, framework.config.size)))
        images.append(room.images)
    made = backbone_features(perception.engine, np.concatenate(images))
    real = np.stack([held[(i, 0, 0)]["image"][0].transpose(1, 2, 0) for i in range(len(held))])
    distance = frechet(backbone_features(perception.engine, real), made)
    return {
        "rooms": {
            "present": float(np.mean(present)) if present else 0.0,
            "agreement": float(np.mean(agreements)),
            "frechet": distance / 100,
        }
    }


def projected(voxels: np.ndarray, views: Views, size: tuple[int, ...]) -> np.ndarray:
    """Returns the labels of the voxels in each view, (V, H, W) uint8."""
    return np.stack([project_labels(voxels, K, T, size) for K, T in zip(views.K, views.T_bc, strict=True)])


def real_agreement(held: ViewGroups, perception: Perception, most: int = 48) -> float:
    """Returns the mean agreement of held-out renders with their true voxels.

    Args:
        held: held-out views.
        perception: whose image engine names the classes of the images.
        most: number of views.
    """
    values = []
    for i in spread_evenly(list(range(len(held))), most):
        item = held[(i, 0, 0)]
        K = np.diag([*item["K"][0, :2], 1.0])
        K[:2, 2] = item["K"][0, 2:]
        size = (item["image"].shape[3], item["image"].shape[2])
        _, labels = read_images(perception, item)
        truth = project_labels(item["target"], K, item["pose"][0].astype(np.float64), size)
        values.append(agreement(labels, truth[None]))
    return float(np.mean(values))


def run_imagined(
    ablation: Ablation, options: Options, generation: Path, weights: Path
) -> tuple[Results, dict[str, Any]]:
    """Train perception with shares of imagined rooms, and score it on held-out views.

    Args:
        ablation: the variants, each with `imagined`, the share of imagined views.
        options: `config` is of training on single views.
        generation: configuration of the generation.
        weights: of the generation.

    Returns:
        the results, and the facts for the report.
    """
    base = load_config(options.config)
    size = (320, 240)
    real = [packed_folder(root, "train", options.packed, size) for root in options.data]
    for root, folder in zip(options.data, real, strict=True):
        pack_split(root, "train", folder, size=size)
    imagined = _imagined_set(options, generation, weights)
    held = OccScanNet(options.heldout, "test", size)
    chosen = spread_evenly(list(range(len(held))), options.limit)
    start = options.out / "image.safetensors"
    engine = open_perception(base.model).engine
    weights_file.save_model(start, {"image.": engine})

    def score(variant: Variant, seed: int, folder: Path) -> dict[str, Any]:
        share = float(variant.overrides.get("imagined", 0.0))
        stages = {
            **base.stages,
            "expert": dataclasses.replace(base.stages["expert"], minutes=0.0, steps=options.budget),
        }
        threads = options.threads or base.threads
        config = dataclasses.replace(base, seed=seed, stages=stages, rescan_steps=options.budget, threads=threads)
        use_threads(threads)
        folders, shares = (
            ([*real, imagined], (*[(1 - share) / len(real)] * len(real), share)) if share else (real, None)
        )
        trainer = Trainer(config, LocalStage(config, "expert", folders, None, shares=shares), folder)
        begin(trainer, start)
        trainer.run()
        model = open_weights(folder / "expert.weights.safetensors", *network_sections(config.model), config.device)
        found = evaluate_local(model, (held[i] for i in chosen), None)["predicted"]["in_view"]
        classes = {name: float(found["per_class"].get(name) or 0.0) for name in NAMES[1:]}
        return {"predicted": {"in_view": {"sc_iou": found["sc_iou"], "miou": found["miou"], **classes}}}

    results = _results(ablation, options, score, {"views": len(chosen), "budget": options.budget})
    facts = {
        "training": f"{options.budget} steps of {base.stages['expert'].batch} views",
        "imagined": f"{ROOMS} rooms of {VIEWS} views",
        "evaluation": f"{len(chosen)} held-out views, predicted depth, in view",
    }
    return results, facts


def _imagined_set(options: Options, generation: Path, weights: Path) -> Path:
    """Imagine rooms after captions of training views, unless they are there; returns their packed folder."""
    config = load_generation(generation)
    root = options.out / "imagined_rooms"
    packed = root / "packed" / "train"
    if not packed.is_dir():
        groups = ViewGroups(
            [pack_groups(root, "train", config.size) for root in options.data], GroupOptions(1, _no_text)
        )
        framework, perception = open_framework(config, weights)
        views, rng = look_around(VIEWS, config.size), np.random.default_rng(0)
        for seed in progress(range(ROOMS), desc="imagined rooms", unit="room"):
            labels = groups[(int(rng.integers(len(groups))), seed, 0)]["labels"][0]
            prompt = caption_of_view(labels, rng)
            write_room(root, prompt, seed, views, imagine(framework, perception, prompt, views, seed))
        pack_split(root, "train", packed, size=(320, 240))
    return packed
