"""The figures of changing scenes: one event on a row of eight voxels, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sgrocc_core.cli import main
from sgrocc_core.data.dynamic_scenes import CHAIR_PUT, CHAIR_TAKEN, KINDS, PERSON_PASSES, SceneEvent
from sgrocc_core.evaluation.dynamic import EventJudge, pooled, table

LENGTH, FRAMES, AT = 30, 40, 5
CHAIR, WALL = 5, 3


def row(*places: range) -> np.ndarray:
    """(LENGTH, 1, 1) bool."""
    out = np.zeros((LENGTH, 1, 1), bool)
    for place in places:
        out[list(place)] = True
    return out


def voxels(places: range) -> np.ndarray:
    return np.array([(i, 0, 0) for i in places], np.int64).reshape(-1, 3)


def judge_of(kind: str, emptied: range, filled: range, blind: tuple[int, ...] = (), last: int = AT) -> EventJudge:
    """An event at frame AT beside a wall at 20 to 29 (28 and 29 thin); all frames except `blind` see its place."""
    seen = np.ones(FRAMES, np.float32)
    seen[list(blind)] = 0.5
    before, after = np.zeros((LENGTH, 1, 1), np.uint8), np.zeros((LENGTH, 1, 1), np.uint8)
    before[20:] = after[20:] = WALL
    if kind != PERSON_PASSES:
        before[list(emptied)], after[list(filled)] = CHAIR, CHAIR
    return EventJudge(
        SceneEvent(kind, AT, last, voxels(emptied), voxels(filled), seen), before, after, row(range(28, 30))
    )


def follow(
    judge: EventJudge, maps: dict[int, np.ndarray], viewed: np.ndarray | None = None, hit: np.ndarray | None = None
) -> dict:
    """Steps through all frames; `maps` holds the map from its frame on."""
    now = row()
    for frame in range(FRAMES):
        now = maps.get(frame, now)
        judge.step(frame, now, row(range(LENGTH)) if viewed is None else viewed, row() if hit is None else hit)
    return judge.figures()


def test_looks_until_nine_tenths_of_what_the_map_had_are_gone():
    """The map held 10 of the chair's 12 voxels; 2 are left in frame 7 and 1 in frame 9, the fifth look."""
    judge = judge_of(CHAIR_TAKEN, range(12), range(0))
    figures = follow(judge, {3: row(range(10)), 6: row(range(5)), 7: row(range(2)), 9: row(range(1))})
    assert (figures["emptied"], figures["map_had"], figures["gone"]) == (12, 10, 5)
    assert figures["came"] is None and figures["left_over"] == {"after_looks": 1, "at_the_end": 1}


def test_frames_that_do_not_see_the_place_are_not_counted():
    judge = judge_of(CHAIR_TAKEN, range(10), range(0), blind=(5, 6, 8))
    figures = follow(judge, {3: row(range(10)), 9: row()})
    assert figures["gone"] == 2 and figures["looks"] == FRAMES - AT - 3  # frames 7 and 9


def test_what_stays_for_ever_is_never_gone_and_what_the_map_never_had_is_not_judged():
    assert follow(judge_of(CHAIR_TAKEN, range(10), range(0)), {3: row(range(10))})["gone"] == "never"
    assert follow(judge_of(CHAIR_TAKEN, range(10), range(0)), {})["gone"] is None


def test_looks_until_nine_tenths_of_what_came_are_there():
    """9 of 10 voxels are in the map from frame 8, the fourth look; the 4 that depth hits are in it from frame 6."""
    judge = judge_of(CHAIR_PUT, range(0), range(10))
    figures = follow(judge, {6: row(range(4)), 8: row(range(9))}, hit=row(range(4)))
    assert (figures["came"], figures["came_visible"], figures["visible"], figures["gone"]) == (4, 2, 4, None)
    assert figures["there"] == {"after_looks": 9, "at_the_end": 9}


def test_what_is_wrongly_removed_was_in_map_and_truth_stayed_and_was_in_view():
    """The map had the wall's 21 to 29, and 20 to 28 are in view: 8 voxels count.

    It loses 21 and 28, of which 28 is thin; the chair's own voxels do not count.
    """
    judge = judge_of(CHAIR_TAKEN, range(10), range(0))
    figures = follow(judge, {3: row(range(10), range(21, 30)), 7: row(range(22, 28))}, viewed=row(range(29)))
    assert (figures["stayed"], figures["removed"], figures["thin_stayed"], figures["thin_removed"]) == (8, 2, 1, 1)


def test_removals_are_counted_after_ten_looks_and_no_later():
    judge = judge_of(CHAIR_TAKEN, range(10), range(0))
    tenth = AT + 9
    figures = follow(judge, {3: row(range(10), range(20, 30)), tenth + 1: row()})
    assert (figures["stayed"], figures["removed"]) == (10, 0) and figures["left_over"] == {
        "after_looks": 10,
        "at_the_end": 0,
    }


def test_of_a_person_counts_what_the_map_had_of_it_when_it_was_gone():
    """A person passes from frame 5 to 8; the map holds 8 voxels of the path in frame 8, 6 in frame 9, none from 12."""
    judge = judge_of(PERSON_PASSES, range(12), range(12), last=9)
    figures = follow(judge, {6: row(range(3)), 8: row(range(8)), 9: row(range(6)), 12: row()})
    assert (figures["map_had"], figures["gone"], figures["came"]) == (8, 4, None)


def test_pooled_figures_add_voxels_and_count_events():
    maps = (
        {3: row(range(10), range(20, 30)), 7: row(range(20, 30))},
        {3: row(range(10), range(20, 30)), 25: row(range(22, 30))},
    )
    events = [follow(judge_of(CHAIR_TAKEN, range(10), range(0)), m) for m in maps]
    events.append(
        follow(judge_of(CHAIR_TAKEN, range(10), range(0)), {3: row(range(10), range(20, 30)), 6: row(range(5))})
    )
    found = pooled(events)
    assert [e["gone"] for e in events] == [3, 21, "never"]
    assert found["gone"] == {"judged": 3, "within_10": pytest.approx(1 / 3), "never": 1, "median_looks": 21}
    assert found["wrongly_removed"] == {"removed": 10, "stayed": 30, "share": pytest.approx(1 / 3)}
    assert found["left_over"]["after_looks"] == pytest.approx((0 + 10 + 5) / 30)
    assert found["held_before"] == 1.0
    assert pooled([follow(judge_of(CHAIR_TAKEN, range(10), range(0)), {3: row(range(4))})])[
        "held_before"
    ] == pytest.approx(0.4)
    assert found["came"]["judged"] == 0 and found["came"]["within_10"] is None


def test_options_of_other_evaluations_are_refused(tmp_path, capsys):
    assert main(["eval", "dynamic", "--data", str(tmp_path), "--json", str(tmp_path / "x.json"), "--frames", "3"]) == 1
    assert "--split and --frames are not of `eval dynamic`" in capsys.readouterr().err


def test_the_table_has_a_line_for_every_kind_and_one_for_all():
    event = follow(judge_of(CHAIR_TAKEN, range(10), range(0)), {3: row(range(10)), 6: row()})
    report = {"pooled": pooled([event]), "by_kind": {k: pooled([event] if k == CHAIR_TAKEN else []) for k in KINDS}}
    lines = table(report | {"scenes": 1, "settings": {"depth_source": "topic"}}).splitlines()
    assert [line.split()[0] for line in lines[2:]] == [*KINDS, "all"] and "100.0 % (2)" in lines[-1]
