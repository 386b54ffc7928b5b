"""Configurations of ablations: the committed ones, how values are laid over, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip("torch")

from sgrocc_core.errors import ConfigError
from sgrocc_core.generation.config import load_generation
from sgrocc_core.training.ablations.ablation import CONFIGS, laid_over, load_ablation
from sgrocc_core.training.config import load_config

ROOT = Path(__file__).parents[3]
NAMES = sorted(path.stem for path in (ROOT / "config" / "ablations").glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_committed_ablation_is_valid(name: str, tmp_path: Path) -> None:
    ablation = load_ablation(name)
    if ablation.task not in CONFIGS:  # nothing is trained; see test_depth_ablation
        return
    if ablation.task in ("generation", "imagined"):  # their keys are not of TrainConfig
        base_of = load_generation(ROOT / CONFIGS["generation"])
        variants = [{k: v for k, v in variant.overrides.items() if k != "imagined"} for variant in ablation.variants]
        assert all(dataclasses.replace(base_of, **overrides) for overrides in variants)
        assert len({str(variant.overrides) for variant in ablation.variants}) == len(ablation.variants)
        return
    base = yaml.safe_load((ROOT / CONFIGS[ablation.task]).read_text())
    made = set()
    for variant in ablation.variants:
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(laid_over(base, variant.overrides)))
        made.add(
            (str(load_config(tmp_path / "c.yaml")), variant.training_noise, variant.evaluation_noise, *variant.phases)
        )
    assert len(made) == len(ablation.variants)  # no two are the same


def test_the_ablations_of_the_issue_are_there() -> None:
    wanted = "lifters gate refinement refinement_single head pose_noise grm offsets sigma gaussians training fusion"
    assert {*wanted.split(), "confidence", "backbone"} <= set(NAMES)
    assert {v.name for v in load_ablation("lifters").variants} == {"hard", "deformable", "threshold", "soft"}


def test_values_are_laid_over_key_by_key() -> None:
    base = {"network": {"lifter": "soft", "sigma": 0.5}, "seed": 1}
    merged = laid_over(base, {"network": {"sigma": 1.0}, "losses": {"focal": 2}})
    assert merged == {"network": {"lifter": "soft", "sigma": 1.0}, "seed": 1, "losses": {"focal": 2}}
    assert base["network"]["sigma"] == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variants: [{name: a}]", "at least two are needed"),
        ("variants: [{name: a}, {name: a}]", "a name of its own"),
        ("variants: [{name: a}, {name: b, colour: red}]", "variant 2: unknown key 'colour'"),
        ("variants: [{name: a/b}, {name: b}]", "name is 'a/b'"),
        ("variants: [{name: a}, {name: b, paper: {iou: 1}}]", "paper is"),
        ("variants: [{name: a}, {name: b, training_noise: {metres: 3}}]", "metres is 3"),
        ("variants: [{name: a}, {name: b, training_noise: {metres: 0.1, share: 0.1}}]", "one of metres, share"),
        (
            "{task: global, variants: [{name: a}, {name: b}]}",
            "task is 'global'; it must be one of local, embodied, image",
        ),
        ("variants: [{name: a}, {name: b, phases: {manager: 1}}]", "phases are of `task: embodied`"),
        ("{task: image, variants: [{name: a}, {name: b, training_noise: {metres: 0.1}}]}", "is told no position"),
        ("{task: embodied, variants: [{name: a}, {name: b, phases: {manager: 0.5}}]}", "shares that add up to 1"),
        (
            "{task: embodied, variants: [{name: a}, {name: b, phases: {first: 1}}]}",
            "of manager, everything, end_to_end",
        ),
        (
            "{task: embodied, variants: [{name: a}, {name: b, training_noise: {metres: 0.1}}]}",
            "not trained under pose noise",
        ),
        ("[]", "must be a mapping"),
        ("{title: a}", "must hold a list of variants"),
    ],
)
def test_a_wrong_ablation_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_ablation(str(tmp_path / "wrong.yaml"))


def test_an_ablation_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match="cannot read the ablation .*nothing.yaml.*lifters"):
        load_ablation("nothing")
