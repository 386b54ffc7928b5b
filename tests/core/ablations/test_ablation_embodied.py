"""A small ablation of the temporal manager from end to end: phases, shared weights, curve, resumption and report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import yaml

from sgrocc_core.cli import main
from sgrocc_core.network import weights_file
from sgrocc_core.training.ablations.ablation import Ablation, Variant, load_ablation
from sgrocc_core.training.ablations.charts import curves_chart
from sgrocc_core.training.ablations.embodied import EmbodiedTask
from sgrocc_core.training.ablations.findings import Findings
from sgrocc_core.training.ablations.report import markdown
from sgrocc_core.training.ablations.task import Options
from sgrocc_core.training.stage import StepInput
from sgrocc_core.training.trainer import Trainer
from tests.samples.rooms.little_walks import CONFIG, make_walks

TEXT = """
title: Phases
task: embodied
variants:
  - {name: two_phases, paper: {miou: 46.22}}
  - name: random
    phases: {end_to_end: 1}
    config: {network: {fusion: random}, walk: {confidence: none}}
    paper: {miou: 41.5}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_walks(tmp_path_factory.mktemp("embodied_ablation"))
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "phases.yaml").write_text(TEXT)
    return folder


def ablate(place: Path, out: str) -> int:
    paths = {
        "config": "config.yaml",
        "weights": "start.safetensors",
        "out": out,
        "results": f"{out}/docs",
        "data": "train",
    }
    paths |= {"heldout": "test", "packed": "packed"}
    options = [part for key, value in paths.items() for part in (f"--{key}", str(place / value))]
    return main(["ablate", str(place / "phases.yaml"), "--budget", "6", "--seeds", "1", *options])


@pytest.fixture(scope="module")
def finished(place: Path) -> Path:
    assert ablate(place, "whole") == 0
    return place / "whole"


def result(folder: Path, variant: str) -> dict:
    return json.loads((folder / "results" / "phases" / variant / "seed_1.json").read_text())


def test_budgets_are_shared_out_over_the_phases(place: Path) -> None:
    options = Options(300, 1, place / "config.yaml", (place / "train",), place / "test", place / "x")
    ablation = load_ablation("training")
    task = EmbodiedTask(ablation, options)
    assert task.steps(ablation.variants[0]) == {"manager": 100, "everything": 200}
    assert task.steps(ablation.variants[1]) == {"end_to_end": 300}


@pytest.mark.slow
def test_an_embodied_ablation_scores_maps_and_single_frames(finished: Path) -> None:
    two, random = result(finished, "two_phases"), result(finished, "random")
    assert two["training"]["steps"] == 2 + 4 and random["training"]["steps"] == 6
    assert two["report"]["frames"] == 3 and {"single_frame", "hidden", "curve"} <= set(two["report"]["sensor"])
    rows = list(csv.DictReader((finished / "docs" / "phases.csv").open()))
    row = next(
        r
        for r in rows
        if (r["variant"], r["depth"], r["region"], r["metric"]) == ("random", "predicted", "single_frame", "sc_iou")
    )
    assert float(row["mean"]) == pytest.approx(100 * random["report"]["predicted"]["single_frame"]["sc_iou"], abs=1e-3)
    text = (finished / "docs" / "phases.md").read_text()
    assert "the maps of 1 held-out scenes" in text and "41.50 (-4.72)" in text and "phases.curve.png" in text
    assert (finished / "docs" / "phases.curve.png").stat().st_size > 5_000


@pytest.mark.slow
def test_the_curve_goes_from_the_first_step_of_the_first_phase_to_the_last_of_the_last(finished: Path) -> None:
    curves = {name: result(finished, name)["report"]["training_curve"] for name in ("two_phases", "random")}
    for points in curves.values():
        steps = [point["step"] for point in points]
        assert steps == sorted(set(steps)) and (steps[0], steps[-1]) == (0, 6)
        assert all(0 <= point["fused_miou"] <= 1 for point in points)


@pytest.mark.slow
def test_all_start_from_the_same_spatial_expert_and_from_no_trained_fusion(finished: Path, place: Path) -> None:
    shared, given = (
        weights_file.read_weights(finished / "expert.safetensors"),
        weights_file.read_weights(place / "start.safetensors"),
    )
    assert set(shared) == {name for name in given if not name.startswith("expert.fusion.")}
    first = weights_file.read_weights(
        Path(result(finished, "two_phases")["training"]["folder"]) / "manager.weights.safetensors"
    )
    assert torch.equal(first["expert.code.0.weight"], given["expert.code.0.weight"])
    last = weights_file.read_weights(
        Path(result(finished, "random")["training"]["folder"]) / "end_to_end.weights.safetensors"
    )
    away = [(weights["expert.fusion.current.weight"] - torch.eye(8)).abs().max() for weights in (first, last)]
    assert 0 < away[0] < 0.05 and away[1] > 0.5  # six steps of 0.001 from the identity, and from a random draw


@pytest.mark.slow
def test_a_run_that_was_interrupted_in_its_second_phase_ends_the_same(
    finished: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, stopped = Trainer.train_step, []

    def interrupted(self: Trainer, given: StepInput) -> dict[str, float]:
        if self.stage.name == "everything" and self.step == 2 and "trained" in self.out.parts and not stopped:
            stopped.append(self.step)
            raise KeyboardInterrupt
        return step(self, given)

    monkeypatch.setattr(Trainer, "train_step", interrupted)
    assert ablate(place, "parts") == 130 and stopped
    assert ablate(place, "parts") == 0
    whole, parts = (result(place / out, "two_phases") for out in ("whole", "parts"))
    assert whole["report"]["training_curve"] == parts["report"]["training_curve"]
    weights = [
        weights_file.read_weights(Path(r["training"]["folder"]) / "everything.weights.safetensors")
        for r in (whole, parts)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def by_hand() -> Findings:
    """One variant rises from 20 to 30 percent, the other falls first."""
    part = {"sc_iou": 0.5, "miou": 0.3, "boundary_f1": 0.1}
    report = {source: {**part, "single_frame": part, "hidden": part} for source in ("predicted", "sensor")}
    curves = {"a": {1: (0.20, 0.25, 0.30), 2: (0.22, 0.25, 0.28)}, "b": {1: (0.20, 0.10, 0.25)}}
    results = {
        name: {
            seed: {
                "report": report | {"training_curve": [{"step": 10 * i, "fused_miou": v} for i, v in enumerate(values)]}
            }
            for seed, values in seeds.items()
        }
        for name, seeds in curves.items()
    }
    return Findings(Ablation("hand", "By hand", "", (Variant("a"), Variant("b")), "embodied"), results)


def test_the_curve_is_the_mean_over_the_seeds() -> None:
    curves = by_hand().curves()
    assert curves["a"] == {0: pytest.approx(21), 10: pytest.approx(25), 20: pytest.approx(29)}
    assert curves["b"] == {0: pytest.approx(20), 10: pytest.approx(10), 20: pytest.approx(25)}
    assert "SC-IoU, single frames" in markdown(by_hand(), {})


def test_the_chart_has_the_curve_of_each_variant() -> None:
    (axes,) = curves_chart(by_hand()).axes
    first, second = axes.lines
    assert (first.get_label(), second.get_label()) == ("a", "b")
    assert list(second.get_xdata()) == [0, 10, 20] and list(second.get_ydata()) == pytest.approx([20, 10, 25])
