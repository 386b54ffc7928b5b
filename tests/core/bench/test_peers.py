"""`sgrocc bench peers`: what the mappers are given, how they are scored, and what is said of those that are missing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sgrocc_core.bench.peers.compare import BACK_END, STEP, Truth, run_together
from sgrocc_core.bench.peers.mappers import DepthView, OctoMap, VdbFusion, depth_view, open_peers, passed
from sgrocc_core.cli import main
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.poses import make_pose
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from tests.samples.engines import small_engine

FORWARD = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""Rotation of a camera that looks along x, with z up."""


def test_points_are_those_of_the_pixels_with_depth() -> None:
    depth = np.zeros((4, 6), np.float32)
    depth[1, 5] = 2.0
    K = np.array([[10.0, 0, 3], [0, 20.0, 2], [0, 0, 1]])
    view = depth_view(depth, K, make_pose(FORWARD, np.array([1.0, 2.0, 3.0])))
    # 2 pixels right of the centre is 0.4 m right at 2 m, one pixel up 0.1 m.
    assert view.points == pytest.approx(np.array([[3.0, 1.6, 3.1]]))


def test_a_voxel_is_passed_where_a_point_lies_in_it() -> None:
    centres = np.array([[0.04, 0.04, 0.04], [0.12, 0.04, 0.04], [-0.04, 0.04, 0.04]])
    assert passed(np.array([[0.15, 0.01, 0.079], [5.0, 5.0, 5.0]]), centres).tolist() == [False, True, False]
    assert not passed(np.zeros((0, 3)), centres).any()


def wall_view() -> DepthView:
    """A wall 2.02 m ahead that fills the image."""
    K = np.array([[40.0, 0, 31.5], [0, 40.0, 23.5], [0, 0, 1]])
    return depth_view(np.full((48, 64), 2.02, np.float32), K, make_pose(FORWARD, np.full(3, 0.02)))


@pytest.mark.parametrize("discretised", [False, True])
def test_octomap_holds_a_wall_and_the_free_space_before_it(discretised: bool) -> None:
    pytest.importorskip("pyoctomap", reason="OctoMap is not installed: requirements/peers.txt")
    peer = OctoMap(4.8, discretised)
    peer.insert(wall_view())
    ahead = np.array([[x + 0.04, 0.04, 0.04] for x in np.arange(0, 3, 0.08)])
    occupied = peer.occupied(ahead)
    assert ahead[occupied, 0] == pytest.approx([2.04])
    memory = peer.memory_mb()
    assert memory is not None and memory > 0


def test_octomap_ignores_what_is_out_of_reach() -> None:
    pytest.importorskip("pyoctomap", reason="OctoMap is not installed: requirements/peers.txt")
    peer = OctoMap(1.0, False)
    peer.insert(wall_view())
    assert not peer.occupied(np.array([[2.04, 0.04, 0.04]])).any()


def test_a_mapper_that_is_not_installed_is_named_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys, tmp_path
) -> None:
    def missing(name: str):
        raise ImportError(f"no {name} here")

    monkeypatch.setattr("sgrocc_core.bench.peers.mappers.import_module", missing)
    peers, why = open_peers(4.8)
    assert peers == [] and why["Open3D"] == "no open3d here" and why["vdbfusion"] == "no vdbfusion here"
    assert main(["bench", "peers", "--frames", "2", "--out", str(tmp_path)]) == 1
    assert "needs OctoMap (no pyoctomap here); pip install -r requirements/peers.txt" in capsys.readouterr().err


def test_vdbfusion_is_not_loaded_into_a_numpy_that_it_was_not_built_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sgrocc_core.bench.peers.mappers.import_module", lambda name: None)
    monkeypatch.setattr("sgrocc_core.bench.peers.mappers.np.__version__", "2.4.6")
    with pytest.raises(ImportError, match="need NumPy 1; this is 2.4.6"):
        VdbFusion(4.8)


class Oracle:
    """A mapper that knows the truth, or claims that all is empty."""

    def __init__(self, truth: Truth, empty: bool = False) -> None:
        self.name = "empty" if empty else "oracle"
        self._truth, self._empty = truth, empty
        self.views: list[DepthView] = []

    def insert(self, view: DepthView) -> None:
        self.views.append(view)

    def occupied(self, centres: np.ndarray) -> np.ndarray:
        voxels = np.floor(centres / 0.08).astype(int) - self._truth.low
        labels = self._truth.labels[tuple(voxels.T)]
        return np.zeros(len(centres), bool) if self._empty else (labels > 0) & (labels < 255)

    def memory_mb(self) -> float | None:
        return None


@pytest.fixture(scope="module")
def compared():
    pytest.importorskip("trimesh", reason="the generator of rooms is not installed: requirements/rooms.txt")
    from sgrocc_core.data.synthetic.generate import prepare, render_frames

    made = prepare("walk", 0, 0, 3, (160, 120))
    truth = Truth(made.grid.labels, made.grid.low, made.grid.origin)
    frames = [
        Frame(f.view.image, f.K, f.T_wc, 100_000_000 * k, f.view.depth)
        for k, f in enumerate(render_frames(made, (160, 120), 0))
    ]
    frames.append(Frame(frames[0].image, frames[0].K, frames[0].T_wc, 10**9, None))
    origin = tuple(float(v) for v in truth.origin)
    mapper = OccupancyMapper(small_engine(), MapperConfig(depth_source="topic"), origin)  # type: ignore[arg-type]
    peers = [Oracle(truth), Oracle(truth, empty=True)]
    return run_together(mapper, peers, frames, truth, skip=1), peers, frames


@pytest.mark.slow
def test_who_knows_the_truth_scores_one_and_an_empty_map_nothing(compared) -> None:
    found, _, _ = compared
    for region in ("seen", "in_view"):
        assert found.scores["oracle"][region] == {"iou": 1.0, "boundary_f1": 1.0}
        assert found.scores["empty"][region] == {"iou": 0.0, "boundary_f1": 0.0}
        assert 0.2 < found.scores[STEP][region]["iou"] < 1
    assert found.voxels["empty"] == 0 < found.voxels[STEP] and found.memory["oracle"] is None


@pytest.mark.slow
def test_all_mappers_take_the_same_images_and_only_those_with_depth(compared) -> None:
    found, (oracle, empty), frames = compared
    assert len(oracle.views) == 3 and all(a is b for a, b in zip(oracle.views, empty.views))
    assert found.points == [int((frame.depth > 0).sum()) for frame in frames[1:3]]
    assert {name: len(times) for name, times in found.times.items()} == dict.fromkeys(
        (STEP, BACK_END, "oracle", "empty"), 2
    )
    assert found.ratio(STEP, BACK_END) > 1


@pytest.mark.slow
def test_the_command_writes_a_report_and_a_picture(tmp_path, capsys) -> None:
    pytest.importorskip("pyoctomap", reason="OctoMap is not installed: requirements/peers.txt")
    pytest.importorskip("trimesh", reason="the generator of rooms is not installed: requirements/rooms.txt")
    assert main(["bench", "peers", "--frames", "4", "--out", str(tmp_path), "--engine", "onnxruntime"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert (tmp_path / "peers.png").stat().st_size > 10_000
    stages, ratios = report["stages"], report["figures"]["ratios"]
    assert {STEP, BACK_END, "OctoMap, all rays", "OctoMap, discretised"} <= set(stages)
    assert ratios["sgrocc / OctoMap, all rays"]["value"] > 0
    assert 0.2 < report["figures"]["scores"]["OctoMap, all rays"]["seen"]["boundary_f1"]["value"] <= 1
    text = capsys.readouterr().out
    assert all(f"{name} is not measured: {why}" in text for name, why in report["configuration"]["missing"].items())
