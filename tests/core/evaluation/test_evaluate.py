"""Local evaluation: a perfect engine scores 1, trivial predictors get the expected scores, the report has its keys."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from sgrocc_core.cli import main
from sgrocc_core.engines.engine import ImageOutputs
from sgrocc_core.engines.export import export_model
from sgrocc_core.engines.model import ModelSpec
from sgrocc_core.engines.weights import build_networks
from sgrocc_core.errors import DataError
from sgrocc_core.evaluation.baselines import (
    Statistics,
    collect,
    depth_surface,
    drawn_by_frequency,
    height_bins,
    load_statistics,
)
from sgrocc_core.evaluation.local import evaluate_local, repeated, spread_evenly, table
from sgrocc_core.evaluation.metrics import OccupancyCounts
from sgrocc_core.evaluation.models import EngineModel
from tests.samples.rooms.little_walks import two_rooms
from tests.samples.truth import gaussians_of

ORIGIN = np.array([1.6, -3.2, -0.32])
K = np.array([[289.0, 0, 159.5], [0, 289.0, 119.5], [0, 0, 1]])
T_WC = np.array([[0.0, 0, 1, 1.7], [-1, 0, 0, -0.8], [0, -1, 0, 1.1], [0, 0, 0, 1]])


@dataclass(frozen=True)
class View:
    """The fields of a data set's sample that evaluation reads."""

    scene: str
    image: np.ndarray
    depth: np.ndarray
    K: np.ndarray
    T_wc: np.ndarray
    voxel_origin: np.ndarray
    target: np.ndarray


def view(depth=2.0):
    """A wall of furniture 2 m ahead of a camera, floor and unknown space elsewhere."""
    target = np.zeros((60, 60, 36), np.uint8)
    target[26:30] = 10
    target[:, :, :4] = 2
    target[:, :, 30:] = 255
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    return View("room", image, np.full((240, 320), depth, np.float32), K, T_WC, ORIGIN, target)


STATISTICS = Statistics(3, "by hand", [2] * 8 + [10] * 24, [0.5, *[0.0] * 10, 0.5], 1.0)


class Oracle:
    """Predicts the truth: one Gaussian at every voxel's centre."""

    spec = ModelSpec("oracle", None, gaussians_per_cell=8)
    description = "oracle"

    def __init__(self, target):
        self.target = target
        self.depths = []

    def image(self, image_u8, mask, K, R_gc):
        assert image_u8.shape == (240, 320, 3) and mask.shape == (240, 320) and np.allclose(R_gc @ R_gc.T, np.eye(3))
        flat = np.full((60, 80), 1.5, np.float32)
        return ImageOutputs(np.zeros((1, 32, 30, 40), np.float32), flat, flat, flat)

    def expert(self, features, depth, spread, thickness, K, T_bc):
        self.depths.append(float(depth.max()))
        assert np.allclose(T_bc[:3, 3], T_WC[:3, 3] - ORIGIN)
        return gaussians_of(np.where(self.target == 255, 0, self.target))


@pytest.fixture(scope="module")
def report():
    sample = view()
    engine = Oracle(sample.target)
    found = evaluate_local(EngineModel(engine), [sample, sample], STATISTICS)
    assert engine.depths == [1.5, 2.0] * 2  # each view with the head's depth, then with the sensor's
    return found


def test_an_engine_that_knows_the_truth_scores_one(report):
    for source in ("predicted", "sensor"):
        for part in (report[source], report[source]["in_view"], report[source]["hidden"]):
            assert part["sc_iou"] == part["miou"] == part["boundary_f1"] == 1.0
    assert report["views"] == 2 and report["scenes"] == 1


def test_the_report_has_the_methods_keys(report):
    keys = {"sc_iou", "miou", "miou_absent_zero", "boundary_f1", "per_class"}
    for source in ("predicted", "sensor"):
        assert set(report[source]) == keys | {"in_view", "hidden"}
        assert set(report[source]["in_view"]) == set(report[source]["hidden"]) == keys
        assert next(iter(report[source]["per_class"])) == "ceiling" and len(report[source]["per_class"]) == 11
    assert set(report["depth"]) == {"abs_rel", "delta1", "calibration"}
    assert set(report["depth"]["calibration"]) == {"p50", "p68", "p90", "error"}
    baselines = report["baselines"]
    for part in (*baselines["depth_surface"].values(), baselines["all_empty"], baselines["class_frequency"]):
        assert set(part) == keys | {"in_view", "hidden"} and set(part["hidden"]) == keys
        assert all(part[key] is not None for key in keys)
    assert set(baselines["depth_surface"]) == {"predicted", "sensor"} and "constant_depth" in baselines
    assert report["versions"]["numpy"] == np.__version__


def test_the_details_say_what_is_taken_for_what_and_how_sure(report):
    details = report["details"]["sensor"]
    assert set(details["confusion"]["furniture"]) == {"furniture"} and set(details["confusion"]["empty"]) == {"empty"}
    full = details["calibration"]["bins"][9]
    assert full["occupied"] == 1.0 and full["predicted"] > 0.99  # opacity logits of 8
    assert details["calibration"]["error"] < 0.05


def test_the_truth_is_scored_where_it_is_and_the_network_told_elsewhere():
    sample = view()
    engine = Oracle(sample.target)
    engine.expert = lambda features, depth, spread, thickness, K, T_bc: (
        told.append(T_bc)
        or Oracle(sample.target).expert(
            features, depth, spread, thickness, K, np.vstack([np.c_[T_WC[:3, :3], T_WC[:3, 3] - ORIGIN], T_bc[3:]])
        )
    )
    told = []

    def noise(number, T_wc):
        moved = T_wc.copy()
        moved[:3, 3] += [0.1 * number, 0, 0]
        return moved

    report = evaluate_local(EngineModel(engine), [sample, sample], None, pose_noise=noise)
    assert [round(float(T[0, 3]), 3) for T in told] == [
        0.1,
        0.1,
        0.2,
        0.2,
    ]  # x of the camera in the box: 1.7 - 1.6, then 0.1 more
    assert report["sensor"]["in_view"]["sc_iou"] == 1.0 and "baselines" not in report


def test_depth_is_scored_against_the_sensors(report):
    assert report["depth"]["abs_rel"] == pytest.approx(0.25) and report["depth"]["delta1"] == 0.0  # 1.5 m for 2.0 m
    assert report["baselines"]["constant_depth"]["abs_rel"] == pytest.approx(0.5)


def test_trivial_predictors_score_what_they_must(report):
    empty = report["baselines"]["all_empty"]
    assert empty["sc_iou"] == empty["miou"] == 0.0
    surface = report["baselines"]["depth_surface"]["sensor"]
    assert 0 < surface["per_class"]["furniture"] < 0.3  # one layer of four, and only where the camera looks
    assert (
        report["baselines"]["depth_surface"]["predicted"]["per_class"]["furniture"] == 0.0
    )  # at 1.5 m there is nothing


def test_the_table_names_every_class_and_every_predictor(report):
    text = table(report)
    assert all(word in text for word in ("furniture", "tvs", "in view", "hidden", "all empty", "AbsRel"))


def test_the_learned_depth_is_repeated_and_masked():
    depth = np.arange(60 * 80, dtype=np.float32).reshape(60, 80) + 1
    mask = np.ones((240, 320), np.float32)
    mask[:30] = 0
    prior = repeated(depth, mask)
    assert prior[:30].max() == 0
    assert prior[35, 13] == depth[8, 3] and prior[239, 319] == depth[59, 79]


def test_the_depth_surface_lies_where_the_depth_says():
    labels = depth_surface(view().depth, K, T_WC, ORIGIN, (60, 60, 36), STATISTICS)
    occupied = np.argwhere(labels)
    assert set(occupied[:, 0]) == {26}  # x = 1.7 + 2.0 - 1.6 = 2.1 m
    heights = occupied[:, 2] * 0.08 + 0.04 + ORIGIN[2]
    assert heights.min() == pytest.approx(1.1 - 2 * 120 / 289, abs=0.08)
    by_height = np.where(np.floor((heights + 1.0) / 0.16) < 8, 2, 10)
    assert np.array_equal(labels[tuple(occupied.T)], by_height)


def test_labels_drawn_by_frequency_score_their_expectation():
    target = np.zeros((60, 60, 36), np.uint8)
    target[:30] = 11
    drawn = drawn_by_frequency(target.shape, STATISTICS, 5)
    assert set(np.unique(drawn)) == {0, 11}  # half of each, and nothing that never occurs
    assert np.array_equal(drawn, drawn_by_frequency(target.shape, STATISTICS, 5))
    assert not np.array_equal(drawn, drawn_by_frequency(target.shape, STATISTICS, 6))
    counts = OccupancyCounts()
    counts.add(drawn, target, np.ones(target.shape, bool))
    figures = counts.figures()
    assert figures["sc_iou"] == pytest.approx(1 / 3, abs=0.01)  # expected: a quarter each of hits, false and missed
    assert figures["per_class"]["objects"] == pytest.approx(1 / 3, abs=0.01)


def test_views_are_spread_evenly():
    assert spread_evenly([3, 4, 5, 6, 9], 3) == [3, 5, 9]
    assert spread_evenly([3, 4], 0) == spread_evenly([3, 4], 7) == [3, 4]


def test_statistics_of_a_training_set():
    sample = view(depth=2.0)
    statistics = collect([sample, sample], "a command")
    assert statistics.views == 2
    floor = height_bins(ORIGIN[2], 36)[0]
    assert statistics.majority_label[floor] == 2
    assert statistics.majority_label[floor + 5] == 10
    known = sample.target[sample.target != 255]
    assert statistics.label_frequency[10] == pytest.approx(np.mean(known == 10))
    assert statistics.constant_depth == pytest.approx(2.0, abs=0.01)


def test_the_best_constant_is_the_median_weighted_by_inverse_depth():
    depths = np.repeat([1.0, 2.0, 4.0], [30, 35, 35])  # weights 30, 17.5, 8.75: the median is the first
    sample = view()
    mixed = View(**{**vars(sample), "depth": depths.reshape(10, 10).astype(np.float32) + 0.002})
    assert collect([mixed], "").constant_depth == pytest.approx(1.0, abs=0.011)


def test_statistics_survive_a_file_and_a_broken_file_is_refused(tmp_path):
    STATISTICS.save(tmp_path / "s.json")
    assert load_statistics(tmp_path / "s.json") == STATISTICS
    (tmp_path / "s.json").write_text('{"views": 1}')
    with pytest.raises(DataError, match="cannot read the baselines' statistics"):
        load_statistics(tmp_path / "s.json")


def test_no_views_make_no_statistics():
    with pytest.raises(DataError, match="no views"):
        collect([], "")


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """One generated room of two frames, in both lists of a set."""
    folder = tmp_path_factory.mktemp("rooms")
    two_rooms(folder)
    return folder


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A small model with random weights whose Gaussians are half opaque."""
    networks = {"image": {}, "expert": {"channels": 8, "wide": 16, "hidden": 16, "offsets": 2, "blocks": 1}}
    torch.manual_seed(0)
    image, expert = build_networks(networks)
    torch.nn.init.constant_(expert.refinements[0].each.bias, 4.0)
    folder = tmp_path_factory.mktemp("model")
    export_model(image, expert, networks, "untrained", folder)
    return folder


def test_the_command_evaluates_an_exported_model_on_a_generated_set(generated, untrained, tmp_path, capsys):
    arguments = [
        "--data",
        generated,
        "--model",
        untrained,
        "--json",
        tmp_path / "report.json",
        "--train-data",
        generated,
    ]
    assert main(["eval", "local", *map(str, arguments)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["views"] == 2 and report["scenes"] == 1
    # Every voxel is filled: the score is the share of occupied voxels.
    assert 0.05 < report["sensor"]["sc_iou"] < 0.7
    assert report["predicted"]["sc_iou"] == pytest.approx(report["sensor"]["sc_iou"], abs=0.05)
    assert report["baselines"]["depth_surface"]["sensor"]["in_view"]["sc_iou"] > 0.02
    assert report["model"]["engine"].startswith(("OpenVINO", "ONNX Runtime"))
    assert "depth surface, class by height" in capsys.readouterr().out


def test_weights_score_as_their_export_does(generated, untrained, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("model: own\nnetwork: {channels: 8, wide: 16, hidden: 16, offsets: 2, blocks: 1}\n")
    common = ["--data", str(generated), "--limit", "1", "--json", str(tmp_path / "r.json")]
    assert main(["eval", "local", *common, "--model", str(untrained)]) == 0
    exported = json.loads((tmp_path / "r.json").read_text())
    assert (
        main(["eval", "local", *common, "--weights", str(untrained / "weights.safetensors"), "--config", str(config)])
        == 0
    )
    weights = json.loads((tmp_path / "r.json").read_text())
    assert weights["model"]["engine"].startswith("PyTorch") and weights["settings"]["scenes_also_in_training_list"] == 0
    for source in ("predicted", "sensor"):
        assert weights[source]["sc_iou"] == pytest.approx(exported[source]["sc_iou"], abs=1e-3)
        assert weights[source]["boundary_f1"] == pytest.approx(exported[source]["boundary_f1"], abs=1e-2)
    assert weights["depth"]["abs_rel"] == pytest.approx(exported["depth"]["abs_rel"], rel=1e-3)


def test_no_leak_needs_a_list_of_what_was_trained_on(generated, untrained, tmp_path, capsys):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "occscannet").mkdir()
    for name in ("gathered_data", "posed_images", "test_final.txt"):
        (tmp_path / "set" / "occscannet" / name).symlink_to(generated / "occscannet" / name)
    arguments = ["--data", str(tmp_path / "set"), "--model", str(untrained), "--json", str(tmp_path / "r.json")]
    assert main(["eval", "local", *arguments, "--no-leak"]) == 1
    assert "--no-leak needs a training list" in capsys.readouterr().err


def test_no_leak_leaves_the_training_sets_scenes_out(generated, untrained, tmp_path, capsys):
    leaky = ["eval", "local", "--data", str(generated), "--split", "train", "--train-data", str(generated), "--no-leak"]
    assert main([*leaky, "--model", str(untrained), "--json", str(tmp_path / "r.json")]) == 1
    assert "no views" in capsys.readouterr().err


def test_no_leak_keeps_the_embodied_test_scenes_where_the_set_names_them(generated, untrained, tmp_path):
    """One scene on both sides of a split by frame, another only trained on: the first is an embodied test scene."""
    layout = tmp_path / "set" / "occscannet"
    layout.mkdir(parents=True)
    for name in ("gathered_data", "posed_images"):
        (layout / name).symlink_to(generated / "occscannet" / name)
    lists = {split: (generated / "occscannet" / f"{split}_final.txt").read_text() for split in ("train", "test")}
    (layout / "train_final.txt").write_text(lists["train"] + lists["test"])
    (layout / "test_final.txt").write_text(lists["train"] + lists["test"])
    tested = lists["test"].split("/")[-2]
    (tmp_path / "set" / "scene_occ").mkdir()
    (tmp_path / "set" / "scene_occ" / "test_online.txt").write_text(tested)
    common = [
        "--data",
        str(tmp_path / "set"),
        "--model",
        str(untrained),
        "--json",
        str(tmp_path / "r.json"),
        "--limit",
        "2",
    ]
    assert main(["eval", "local", *common]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["scenes"] == report["settings"]["scenes_also_in_training_list"] == 2
    assert main(["eval", "local", *common, "--no-leak"]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["scenes"] == 1 and report["settings"]["split_by_embodied_test_scenes"]
    assert report["settings"]["scenes_also_in_training_list"] == 0


@pytest.mark.parametrize(
    "options, message",
    [
        (["--limit", "-1"], "--limit is -1"),
        (["--threshold", "1.5"], "--threshold is 1.5"),
        (["--config", "c.yaml"], "--config needs --weights"),
    ],
)
def test_an_option_that_is_not_allowed_is_named(options, message, tmp_path, capsys):
    assert main(["eval", "local", "--data", "nowhere", "--json", str(tmp_path / "r.json"), *options]) == 1
    assert message in capsys.readouterr().err
