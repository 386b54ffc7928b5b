"""The findings of an ablation: its figures by variant and seed, and which of them its tables and charts show."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgrocc_core.classes import NAMES
from sgrocc_core.evaluation.local import SOURCES
from sgrocc_core.training.ablations.ablation import METRICS, Ablation, Variant
from sgrocc_core.training.ablations.comparison import Estimate, estimate, paired_difference


@dataclass(frozen=True)
class ReportLayout:
    """Contents of the report of a task.

    Attributes:
        sources: keys of the figures, with the headings of their tables.
        regions: keys and titles of the scored regions; orders and charts use the first.
        metrics: metrics to compare.
        panels: source and metric of the chart's columns.
        what: description of the scored data, for the chart.
        repeated: plural of what the mean and the spread are over.
    """

    sources: dict[str, str]
    regions: dict[str, str]
    metrics: tuple[str, ...]
    panels: tuple[tuple[str, str], ...]
    what: str
    repeated: str = "seeds"


DEPTHS = {source: f"With {source} depth" for source in SOURCES}
OCCUPANCY_PANELS = tuple((source, metric) for source in SOURCES for metric in ("sc_iou", "miou"))
IMAGE_METRICS = ("abs_rel", "delta1", "abs_rel_scaled", "miou_2d")
ROOM_METRICS = ("present", "agreement", "frechet")
DEPTH_METRICS = ("abs_rel", "delta1", "calibration_error")
LAYOUTS = {
    "local": ReportLayout(
        DEPTHS,
        {"in_view": "in view", "hidden": "hidden", "all": "whole box"},
        METRICS,
        OCCUPANCY_PANELS,
        "Held-out views, in view",
    ),
    "embodied": ReportLayout(
        DEPTHS,
        {"all": "map", "hidden": "map, hidden", "single_frame": "single frames"},
        METRICS,
        OCCUPANCY_PANELS,
        "Maps of held-out scenes",
    ),
    "image": ReportLayout(
        {"image": "Depth and 2D classes"},
        {"all": "image"},
        IMAGE_METRICS,
        tuple(("image", metric) for metric in IMAGE_METRICS),
        "Held-out views",
    ),
    "generation": ReportLayout(
        {"rooms": "Imagined rooms"},
        {"all": "rooms"},
        ROOM_METRICS,
        tuple(("rooms", metric) for metric in ROOM_METRICS),
        "Prompts",
    ),
    "imagined": ReportLayout(
        {"predicted": DEPTHS["predicted"]},
        {"in_view": "in view"},
        ("sc_iou", "miou", *NAMES[1:]),
        (("predicted", "sc_iou"), ("predicted", "miou")),
        "Held-out views, in view",
    ),
    "depth": ReportLayout(
        {"moving": "Images that have a source", "all": "All images"},
        {"all": "image"},
        DEPTH_METRICS,
        (*(("moving", metric) for metric in DEPTH_METRICS), ("all", "abs_rel")),
        "Held-out videos",
        "videos",
    ),
}
TITLES = {
    "sc_iou": "SC-IoU",
    "miou": "mIoU",
    "boundary_f1": "boundary F1",
    "abs_rel": "AbsRel",
    "delta1": "within 1.25",
    "abs_rel_scaled": "AbsRel, scaled",
    "miou_2d": "2D mIoU",
    "calibration_error": "error of the spread's quantiles",
    "present": "asked classes present",
    "agreement": "agreement",
    "frechet": "Fréchet distance (no percentage)",
    **{name: f"IoU of {name}" for name in NAMES[1:]},
}
Results = dict[str, dict[int, dict[str, Any]]]
"""Results of `AblationRuns.result`, by variant's name and seed."""
Key = tuple[str, str, str]
"""Source, region, metric."""


@dataclass(frozen=True)
class Row:
    """A variant's figure of one key, in percent.

    Attributes:
        value: over the seeds.
        difference: to the reference, paired by seed; None for the reference.
    """

    value: Estimate
    difference: Estimate | None


class Findings:
    """An ablation's results, by variant and figure.

    Args:
        ablation: the ablation.
        results: may lack runs; variants without any are left out.
    """

    def __init__(self, ablation: Ablation, results: Results) -> None:
        self.ablation, self.results = ablation, results
        self.variants = [v for v in ablation.variants if results.get(v.name)]
        self.reference = ablation.variants[0]
        self.layout = LAYOUTS[ablation.task]

    @staticmethod
    def read(ablation: Ablation, path: Path) -> Findings:
        """Returns the findings in a table of runs, NAME.runs.csv; curves of the training are not in it.

        Args:
            ablation: of the table.
            path: table written by `report.write_report`.
        """
        results: Results = {}
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                runs = results.setdefault(row["variant"], {})
                part = runs.setdefault(int(row["seed"]), {"report": {}})["report"].setdefault(row["depth"], {})
                figures = part if row["region"] == "all" else part.setdefault(row["region"], {})
                figures[row["metric"]] = float(row["value"]) / 100.0
        return Findings(ablation, results)

    def values(self, variant: Variant, key: Key) -> dict[int, float]:
        """Returns a variant's figure of one key in percent, by seed."""
        source, region, metric = key
        found = {}
        for seed, result in self.results.get(variant.name, {}).items():
            part = result["report"][source]
            found[seed] = 100.0 * (part if region == "all" else part[region])[metric]
        return found

    def row(self, variant: Variant, key: Key) -> Row:
        """Returns a variant's figure of one key over the seeds."""
        values = self.values(variant, key)
        value = estimate(list(values.values()))
        assert value is not None, "variants without results are left out"
        same = variant.name == self.reference.name
        return Row(value, None if same else paired_difference(values, self.values(self.reference, key)))

    def curves(self) -> dict[str, dict[int, float]]:
        """Returns the mIoU during training in percent, mean over the seeds, by variant and step.

        Empty for single views.
        """
        found: dict[str, dict[int, float]] = {}
        for variant in self.variants:
            points: dict[int, list[float]] = {}
            for result in self.results[variant.name].values():
                for point in result["report"].get("training_curve", ()):
                    points.setdefault(point["step"], []).append(100.0 * point["fused_miou"])
            if points:
                found[variant.name] = {step: sum(values) / len(values) for step, values in sorted(points.items())}
        return found

    def label_shares(self) -> dict[str, dict[float, Variant]]:
        """Returns the variants by method and share of labels; empty where all variants have the labels of all scenes.

        The method is the variant's name up to its last `_`, the share is `few_labels.labelled` of its configuration.
        """
        found: dict[str, dict[float, Variant]] = {}
        for variant in self.variants:
            share = float(variant.overrides.get("few_labels", {}).get("labelled", 1.0))
            found.setdefault(variant.name.rpartition("_")[0], {})[share] = variant
        shares = {share for method in found.values() for share in method}
        return {name: dict(sorted(method.items())) for name, method in found.items()} if shares - {1.0} else {}

    def keys(self) -> Iterator[Key]:
        """Iterates over the keys of all figures that are compared."""
        return itertools.product(self.layout.sources, self.layout.regions, self.layout.metrics)
