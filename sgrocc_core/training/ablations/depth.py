"""The ablation of depth from the camera's motion: one model over the same videos; nothing is trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sgrocc_core.engines.engine import Engine
from sgrocc_core.errors import ConfigError, DataError
from sgrocc_core.evaluation.depth import REGIONS, DepthEvaluation, DepthVariant
from sgrocc_core.frame import Frame
from sgrocc_core.training.ablations.ablation import Ablation, Variant

KEYS = ("motion_depth", "sources", "every", "combined", "finer", "degrees")
"""What a variant's `config` may set."""
Results = dict[str, dict[int, dict[str, Any]]]


def depth_variant(variant: Variant) -> DepthVariant:
    """What a variant of the ablation asks for; ConfigError names the variant and the value that is not allowed."""
    unknown = set(variant.overrides) - set(KEYS)
    if unknown:
        raise ConfigError(f"variant {variant.name!r}: unknown key {min(unknown)!r}; the keys are {', '.join(KEYS)}")
    if variant.evaluation_noise.share or variant.training_noise:
        raise ConfigError(f"variant {variant.name!r}: of pose noise only evaluation_noise in metres can be given")
    try:
        return DepthVariant(variant.name, metres=variant.evaluation_noise.metres, **variant.overrides)
    except ConfigError as error:
        raise ConfigError(f"variant {variant.name!r}: {error}") from error


def evaluate_variants(
    ablation: Ablation, engine: Engine, videos: Iterable[Iterable[Frame]]
) -> tuple[Results, dict[str, str]]:
    """Score every variant on the same videos in one pass.

    Args:
        videos: what is repeated, as seeds are in other ablations; those without an image that has a source are left
            out.

    Returns:
        By variant and number of the video what `report.Findings` takes, and the facts for the report.

    Raises:
        ConfigError: a variant is not what it should be, or needs a network that the model lacks.
        DataError: no video has an image with a source and depth to compare with.
    """
    variants = [depth_variant(variant) for variant in ablation.variants]
    if not engine.spec.has_stereo:
        raise ConfigError(f"the model {engine.spec.name} has no network for stereo; give one that has with --model")
    results: Results = {variant.name: {} for variant in variants}
    images = dict.fromkeys(REGIONS, 0)
    for number, frames in enumerate(videos):
        evaluation = DepthEvaluation(engine, variants, seed=number)
        evaluation.add(frames)
        report = evaluation.report()
        counted = report[variants[0].name]
        if not counted["moving"]["images"]:
            continue
        for region in REGIONS:
            images[region] += counted[region]["images"]
        for variant in variants:
            results[variant.name][number] = {"report": _figures(report[variant.name])}
    if not images["moving"]:
        raise DataError("no video has an image with a source: make some with `sgrocc synth --video`")
    facts = {
        "model": f"{engine.spec.name}, {engine.description}",
        "images": f"{images['all']} of {len(results[variants[0].name])} videos, {images['moving']} with a source",
    }
    return results, facts


def _figures(report: dict[str, Any]) -> dict[str, Any]:
    return {
        region: {
            "abs_rel": report[region]["abs_rel"],
            "delta1": report[region]["delta1"],
            "calibration_error": report[region]["calibration"]["error"],
        }
        for region in REGIONS
    }
