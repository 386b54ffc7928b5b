"""Embodied evaluation: a perfect engine maps the truth, single frames are scored separately, masks are respected."""

from __future__ import annotations

import numpy as np
import pytest

from sgrocc_core.data.embodied_scannet import EmbodiedScene
from sgrocc_core.data.occ_scannet import Sample
from sgrocc_core.engines.engine import ImageOutputs
from sgrocc_core.engines.model import ModelSpec
from sgrocc_core.errors import DataError
from sgrocc_core.evaluation.baselines import Statistics
from sgrocc_core.evaluation.embodied import EmbodiedEvaluation, table
from sgrocc_core.evaluation.metrics import regions
from sgrocc_core.gaussians.gaussians import History, LocalGaussians
from sgrocc_core.geometry.lattice import BOX_VOXELS, CELL_SIZE, VOXEL_SIZE, box_corner
from sgrocc_core.geometry.poses import make_pose
from sgrocc_core.mapping.types import MapperConfig
from tests.samples.recordings.streams import LEVEL
from tests.samples.truth import gaussians_of

K = np.array([[160.0, 0, 159.5], [0, 160.0, 119.5], [0, 0, 1]])
ORIGIN = np.array([10.03, -4.02, 0.51])
SHAPE = (90, 80, 40)
STATISTICS = Statistics(3, "by hand", [10] * 32, [0.5, *[0.0] * 10, 0.5], 1.0)
CEILING, FLOOR, WALL, FURNITURE = 1, 2, 3, 10


def scene() -> EmbodiedScene:
    """A floor, a ceiling at 2.72 m, a wall at x = 4 m (scene frame), a block before it, unknown space behind it."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, :, :2] = FLOOR
    labels[:, :, 34:36] = CEILING
    labels[50:53] = WALL
    labels[53:] = 255
    labels[40:50, 20:30, 2:12] = FURNITURE
    return EmbodiedScene("hall", labels, ORIGIN, labels != 255, ("00000", "00001"))


def rendered(truth: EmbodiedScene, T_wc: np.ndarray) -> np.ndarray:
    """(240, 320) z-depth of the scene's voxels by marching along every pixel's ray, metres; 0 = nothing hit."""
    v, u = np.indices((240, 320))
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u, float)], -1) @ T_wc[:3, :3].T
    depth = np.zeros((240, 320), np.float32)
    solid = (truth.labels != 0) & (truth.labels != 255)
    for z in np.arange(0.1, 5.0, 0.01):
        index = np.floor((T_wc[:3, 3] + z * rays - truth.origin) / VOXEL_SIZE).astype(int)
        inside = ((index >= 0) & (index < SHAPE)).all(-1) & (depth == 0)
        depth[inside] = np.where(solid[tuple(index[inside].T)], z, 0)
    return depth


def walk(truth: EmbodiedScene) -> list[tuple[Sample, np.ndarray]]:
    """Two looks at the wall, from places 0.8 m apart."""
    found = []
    for y in (2.8, 3.6):
        T_wc = make_pose(LEVEL, ORIGIN + [0.9, y, 1.5])
        depth = rendered(truth, T_wc)
        image = np.full((240, 320, 3), 128, np.uint8)
        box = np.zeros((60, 60, 36), np.uint8)
        T_sc = make_pose(LEVEL, T_wc[:3, 3] - ORIGIN)
        low = 2 * box_corner(T_sc, box_below=1.5)  # the set's own box stands on the floor
        inside = (
            (np.moveaxis(np.indices(SHAPE), 0, -1) >= low) & (np.moveaxis(np.indices(SHAPE), 0, -1) < low + BOX_VOXELS)
        ).all(-1)
        mask = regions(truth.labels, depth, K, T_sc)["in_view"] & inside
        found.append((Sample("hall", f"{len(found):05d}", image, depth, K, T_wc, ORIGIN, box, None), mask))
    return found


class Oracle:
    """Predicts the truth: a Gaussian at every voxel's centre, and the sensor's depth of the last frame."""

    spec = ModelSpec("oracle", None, gaussians_per_cell=8)  # type: ignore[arg-type]
    description = "oracle"

    def __init__(self, truth: EmbodiedScene, frames: list[tuple[Sample, np.ndarray]]) -> None:
        self.truth, self.frames, self.shown, self.histories = truth, frames, -1, []  # type: ignore[var-annotated]
        self.below: list[float] = []  # metres from the camera down to the bottom of the box

    def image(self, image_u8: np.ndarray, mask: np.ndarray, K: np.ndarray, R_gc: np.ndarray) -> ImageOutputs:
        self.shown += 1  # each frame is shown twice: once for each depth
        depth = self.frames[self.shown // 2][0].depth[2::4, 2::4]
        return ImageOutputs(
            np.zeros((1, 32, 30, 40), np.float32), depth, np.full_like(depth, 0.02), np.full_like(depth, 0.3)
        )

    def expert(
        self,
        features: np.ndarray,
        depth: np.ndarray,
        spread: np.ndarray,
        thickness: np.ndarray,
        K: np.ndarray,
        T_bc: np.ndarray,
        history: History | None = None,
        wanted: np.ndarray | None = None,
    ) -> LocalGaussians:
        self.histories.append(history)
        T_wc = self.frames[self.shown // 2][0].T_wc
        self.below.append(float(T_bc[2, 3]))
        corner = np.rint((T_wc[:3, 3] - self.truth.origin - T_bc[:3, 3]) / CELL_SIZE).astype(int) * 2
        index = np.moveaxis(np.indices(BOX_VOXELS), 0, -1) + corner
        inside = ((index >= 0) & (index < SHAPE)).all(-1)
        labels = np.zeros(BOX_VOXELS, np.uint8)
        labels[inside] = self.truth.labels[tuple(index[inside].T)]
        labels[labels == 255] = 0
        return gaussians_of(labels)


@pytest.fixture(scope="module")
def evaluated() -> tuple[dict, Oracle]:  # type: ignore[type-arg]
    truth = scene()
    frames = walk(truth)
    oracle = Oracle(truth, frames)
    evaluation = EmbodiedEvaluation(oracle, STATISTICS)
    evaluation.add(truth, iter(frames))
    return evaluation.report(), oracle


def test_an_engine_that_knows_the_truth_maps_it(evaluated) -> None:  # type: ignore[no-untyped-def]
    report, _ = evaluated
    for source, least in (("predicted", 0.92), ("sensor", 0.99)):  # a learned depth's coarse pixels carve at edges
        part = report[source]
        assert part["single_frame"]["sc_iou"] == part["single_frame"]["miou"] == 1.0
        assert part["sc_iou"] > least and part["miou"] > least and part["hidden"]["sc_iou"] > least
        assert len(part["curve"]) == 2 and part["curve"][1]["sc_iou"] == part["sc_iou"]
    assert (report["scenes"], report["frames"]) == (1, 2)


def test_a_perfect_map_s_only_excess_is_the_back_of_its_thick_wall(evaluated) -> None:  # type: ignore[no-untyped-def]
    excess = evaluated[0]["sensor"]["excess"]  # the wall is three voxels thick, and nothing is known behind it
    assert 0 < excess["structural"] == excess["true"] < 1 / 3 and excess["outside"] == 0
    assert excess["either"] == excess["structural"] and excess["voxels"] > 1000


def test_boxes_lie_where_the_set_has_them_or_where_the_mapper_places_them(evaluated) -> None:  # type: ignore[no-untyped-def]
    assert evaluated[1].below == pytest.approx([1.5] * 8, abs=0.08)
    truth = scene()
    frames = walk(truth)
    oracle = Oracle(truth, frames)
    evaluation = EmbodiedEvaluation(oracle, None, MapperConfig(box_below=2.1, box_shift=0.16), own_boxes=True)
    evaluation.add(truth, iter(frames))
    assert oracle.below == pytest.approx([1.94] * 8, abs=0.08)  # the floor is 1.5 m below, so it rises by all it may


def test_trivial_predictors_see_the_same_frames(evaluated) -> None:  # type: ignore[no-untyped-def]
    report, _ = evaluated
    surface = report["sensor"]["baselines"]["depth_surface"]
    assert 0.1 < surface["sc_iou"] < 0.9 and surface["per_class"]["furniture"] > 0 and surface["per_class"]["wall"] == 0
    assert report["baselines"]["all_empty"]["sc_iou"] == 0 < report["baselines"]["class_frequency"]["sc_iou"] < 0.5


def test_every_frame_is_judged_without_history_and_mapped_with_it(evaluated) -> None:  # type: ignore[no-untyped-def]
    _, oracle = evaluated
    assert [history is None for history in oracle.histories] == [True, False] * 4
    first, second = oracle.histories[1], oracle.histories[5]  # the same mapper's, frame 1 and frame 2
    assert not first.past.any() and second.past[:, 0].sum() > 1000 and second.past[:, 2].max() == pytest.approx(0.1)


def test_the_table_names_what_stands_beside_the_map(evaluated) -> None:  # type: ignore[no-untyped-def]
    text = table(evaluated[0])
    for words in (
        "2 frames of 1 scenes",
        "sensor depth: the map",
        "the single frames",
        "depth surface",
        "all empty",
        "after frame 1:",
        "% structure behind the surface",
    ):
        assert words in text


def test_a_scene_without_frames_is_an_error() -> None:
    truth = scene()
    with pytest.raises(DataError, match="scene hall has no frames"):
        EmbodiedEvaluation(Oracle(truth, []), None).add(truth, [])
