"""Things found in held-out rooms: pairs of boxes counted by hand, and one small room from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sgrocc_core.classes import label_of
from sgrocc_core.cli import main
from sgrocc_core.data.synthetic.generate import prepare
from sgrocc_core.evaluation.objects import CLASSES, LEAST_SEEN, SEED, Box, matched, piece_boxes, table
from sgrocc_core.geometry.lattice import VOXEL_SIZE

CHAIR, TABLE = label_of("chair"), label_of("table")


def box(label: int, x: float, width: float = 1.0) -> Box:
    """A box of a metre that begins at x; its width is along x."""
    return Box(label, np.array([x, 0.0, 0.0]), np.array([x + width, 1.0, 1.0]))


def test_overlap_is_intersection_over_union():
    assert box(CHAIR, 0.0).overlap(box(CHAIR, 0.5)) == pytest.approx(0.5 / 1.5)
    assert box(CHAIR, 0.0).overlap(box(CHAIR, 0.0, 0.25)) == pytest.approx(0.25)
    assert box(CHAIR, 0.0).overlap(box(CHAIR, 2.0)) == 0.0


def test_boxes_of_one_class_are_matched_once_each_and_the_best_first():
    assert matched([box(CHAIR, 0.0)], [box(CHAIR, 0.5)]) == 1
    assert matched([box(CHAIR, 0.0)], [box(CHAIR, 0.7)]) == 0  # 0.3 / 1.7 is below the least overlap
    assert matched([box(CHAIR, 0.0)], [box(TABLE, 0.0)]) == 0
    assert matched([box(CHAIR, 0.0), box(CHAIR, 0.1)], [box(CHAIR, 0.0)]) == 1
    # Two of three could be matched in another way, but the best pair takes the one that both need.
    assert matched([box(CHAIR, 0.0), box(CHAIR, 0.5)], [box(CHAIR, 0.45), box(CHAIR, 0.0)]) == 2


@pytest.mark.slow
def test_pieces_that_no_frame_showed_do_not_count_and_boxes_lie_on_voxels():
    made = prepare("heldout", SEED, 0, 2, (320, 240), 8)
    count = len(made.scene.pieces)
    boxes = piece_boxes(made, np.full(count, LEAST_SEEN))
    assert boxes and {found.label for found in boxes} <= set(CLASSES)
    assert piece_boxes(made, np.full(count, LEAST_SEEN - 1)) == []
    for found in boxes:
        steps = (np.stack([found.low, found.high]) - made.grid.origin) / VOXEL_SIZE
        np.testing.assert_allclose(steps, steps.round(), atol=1e-6)


@pytest.mark.slow
def test_the_command_scores_a_room_and_its_sums_are_those_of_the_classes(tmp_path: Path, capsys):
    file = tmp_path / "objects.json"
    options = ["--limit", "1", "--frames", "3", "--engine", "onnxruntime", "--threads", "1"]
    assert main(["eval", "objects", *options, "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    rows = report["classes"]
    assert (report["seed"], report["rooms"], report["frames"]) == (SEED, 1, 3)
    for key in ("things", "found", "right"):
        assert rows["all"][key] == sum(row[key] for name, row in rows.items() if name != "all")
    for row in rows.values():
        assert row["right"] <= min(row["things"], row["found"])
        assert row["recall"] is None if row["things"] == 0 else row["recall"] == row["right"] / row["things"]
    assert table(report) in capsys.readouterr().out


def test_a_negative_seed_is_refused(tmp_path: Path, capsys):
    assert main(["eval", "objects", "--seed", "-1", "--json", str(tmp_path / "x.json")]) == 1
    assert "--seed is -1; it must be 0 or more" in capsys.readouterr().err
