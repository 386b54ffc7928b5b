"""Targets of a recording: free before the surface, matter at it, unknown behind, and the names that views vote for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.classes import EMPTY, NAMELESS, UNKNOWN
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.training.adapt.recording import RecordedView, Recording
from sgrocc_core.training.adapt.targets import evidence_of, grid_of_evidence, name_views, write_views
from sgrocc_core.training.data.dataset import BEYOND, DatasetOptions, PackedViews, item
from sgrocc_core.training.losses.objectives import LocalWeights, cell_terms
from sgrocc_core.training.teachers.opinion import Opinion
from sgrocc_core.training.teachers.votes import VoxelVotes, codes_of
from tests.samples.rooms.box_room import pose

K = np.array([[150.0, 0, 79.5], [0, 150.0, 59.5], [0, 0, 1]])
WALL = 2.1
"""Distance of a wall that fills the image, metres; the camera at the origin looks along x."""


def wall(shift: float = 0.0) -> RecordedView:
    """A view of the wall from a place that is `shift` metres aside."""
    T_wc = pose(0.0, shift, 0.0, down=0.0, height=0.0)
    picture = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    return RecordedView(picture, np.full((120, 160), WALL, np.float32), K, T_wc, 1)


class Says:
    """A teacher that says one class of every pixel."""

    name = "says"

    def __init__(self, label: int, confidence: float = 0.9) -> None:
        self.label, self.confidence = label, confidence

    def look(self, frame: object) -> Opinion:
        return Opinion(np.full((60, 80), self.label, np.uint8), np.full((60, 80), self.confidence, np.float32))


def recording(count: int = 4) -> Recording:
    views = [wall(0.1 * number) for number in range(count)]
    return Recording([view.as_frame() for view in views], views, 0, 1.0)


def test_depth_frees_the_space_before_it_and_fills_the_voxels_that_it_ends_in() -> None:
    memory = evidence_of(recording().views)
    first = np.array([0, -30, -18])
    grid = grid_of_evidence(memory, first)
    along = grid[:, 31, 18]  # the voxels on a line to the wall, from the camera on
    at = int(WALL / VOXEL_SIZE)
    assert set(along[6 : at - 1].tolist()) == {EMPTY} and along[at] == 1
    assert set(along[at + 1 :].tolist()) == {UNKNOWN}
    shifted = grid_of_evidence(memory, first + [3, 1, -2])
    assert (shifted[:-3, :-1, 2:] == grid[3:, 1:, :-2]).all()


def test_a_voxel_gets_the_class_that_its_views_agree_on() -> None:
    naming = name_views(recording(), [0, 1, 2, 3], [Says(3)])
    assert len(naming.votes) > 100
    first = np.array([0, -30, -18])
    grid = naming.votes.name(grid_of_evidence(evidence_of(recording().views), first), first)
    occupied = grid[(grid != EMPTY) & (grid != UNKNOWN)]
    assert set(occupied.tolist()) <= {3, NAMELESS} and (occupied == 3).mean() > 0.8
    assert (naming.opinions[0].labels == 3).all()


@pytest.mark.parametrize("teachers", [[Says(3), Says(10)], [Says(3, 0.3)], []])
def test_voxels_have_no_class_where_teachers_disagree_are_unsure_or_absent(teachers: list[Says]) -> None:
    naming = name_views(recording(), [0, 1, 2, 3], teachers)
    assert len(naming.votes) == 0 and (naming.opinions[2].labels == UNKNOWN).all()


def test_frames_that_are_held_out_do_not_vote() -> None:
    one, two = (len(name_views(recording(), voting, [Says(3)]).votes) for voting in ([0], [0, 3]))
    assert one < two


def test_one_view_alone_names_no_voxel_and_a_minority_is_outvoted() -> None:
    votes, view = VoxelVotes(), wall()
    ask = lambda: votes.counted().opinion(codes_of(np.array([[26, 0, 0]]))).labels.item()  # noqa: E731
    for label, expected in ((10, UNKNOWN), (3, 10), (3, 3), (3, 3)):
        votes.add(
            Opinion(np.full((120, 160), label, np.uint8), np.full((120, 160), 0.9, np.float32)),
            view.depth,
            K,
            view.T_wc,
        )
        assert ask() in (expected, 3) and (expected != UNKNOWN or ask() == UNKNOWN)
    assert votes.counted().opinion(codes_of(np.array([[26, 0, 0]]))).confidence.item() == pytest.approx(0.75)


def test_packed_views_hold_what_was_seen_and_nothing_is_learned_of_the_rest(tmp_path: Path) -> None:
    made = recording()
    naming = name_views(made, [0, 1, 2, 3], [])
    write_views(tmp_path, "recording", made.views, [1, 2], evidence_of(made.views), naming)
    views = PackedViews([tmp_path], DatasetOptions(augment=False, grid=True, input_size=(320, 240)))
    sample = item(views.view(0), views.options, np.random.default_rng(0))
    assert len(views) == 2 and sample["image"].shape == (3, 240, 320)
    assert not sample["thickness"].any() and sample["complete"] == 0 and not (sample["state"] == BEYOND).any()
    assert {*np.unique(sample["target"])} == {EMPTY, NAMELESS, UNKNOWN}
    batch = {key: torch.from_numpy(np.asarray(sample[key]))[None] for key in ("target", "state", "complete")}
    opacities = torch.zeros(1, 16200, 1)
    assert cell_terms(opacities, batch, LocalWeights())["undefined"] == 0
    assert cell_terms(opacities, {**batch, "complete": torch.ones(1)}, LocalWeights())["undefined"] > 0


def test_views_are_drawn_from_the_folders_by_their_shares(tmp_path: Path) -> None:
    made = recording()
    naming, memory = name_views(made, [0, 1], []), evidence_of(made.views)
    write_views(tmp_path / "a", "recording", made.views, [0, 1, 2], memory, naming)
    write_views(tmp_path / "b", "recording", made.views, [3], memory, naming)
    data = PackedViews([tmp_path / "a", tmp_path / "b"], DatasetOptions(), (0.25, 0.75))
    assert data.balance().tolist() == pytest.approx([0.25 / 3] * 3 + [0.75])
