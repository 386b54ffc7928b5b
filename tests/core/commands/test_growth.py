"""`sgrocc bench growth` on a walk through two rooms of one kind: its report agrees with the map."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from sgrocc_core.bench.building import make_building, room_order
from sgrocc_core.bench.growth import (
    MOST_BYTES,
    MOST_TIMES,
    RepeatingEngine,
    early_room,
    figures,
    in_turn,
    learn,
    there_and_back,
    walk,
)
from sgrocc_core.cli import main
from sgrocc_core.mapping.mapper import MapperConfig
from tests.samples.engines import small_engine

VIEWS, FRAMES = 4, 6


class Counted:
    """The real engine, which also counts the runs of each network."""

    def __init__(self, engine):
        self.engine, self.spec, self.description = engine, engine.spec, engine.description
        self.images = self.boxes = 0

    def image(self, *inputs):
        self.images += 1
        return self.engine.image(*inputs)

    def expert(self, *inputs):
        self.boxes += 1
        return self.engine.expert(*inputs)


@pytest.fixture(scope="module")
def building():
    return make_building(2, 1, VIEWS, 0)


@pytest.fixture(scope="module")
def walked(building):
    """The counting engine, the measurements of the walk, the mapper, and the resident memory just after it, kB."""
    counted = Counted(small_engine())
    engine = RepeatingEngine(counted)
    learn(engine, building, MapperConfig())
    growth, mapper = walk(engine, building, FRAMES, MapperConfig())
    status = Path("/proc/self/status").read_text().splitlines()
    _, grown = walk(engine, building, FRAMES, MapperConfig())
    in_turn(engine, building, growth, MapperConfig(), grown)
    return counted, growth, mapper, int(next(line for line in status if line.startswith("VmRSS")).split()[1]), grown


def test_the_networks_run_once_a_view(walked):
    assert walked[0].images == walked[0].boxes == VIEWS


def test_a_copy_of_a_room_is_mapped_as_the_room_was(walked):
    _, growth, mapper, *_ = walked
    voxels, labels, probability = mapper.map.voxel_map.occupied()
    half = growth.rooms[0]["voxels"]
    assert len(voxels) == 2 * half > 1000
    order = np.lexsort(voxels.T[[2, 1, 0]])  # by x, in which the two lie apart
    first, second = order[:half], order[half:]
    shift = voxels[second] - voxels[first]
    assert (shift == shift[0]).all() and shift[0, 0] % 16 == 0 and shift[0, 0] * 0.08 > 5
    assert np.array_equal(labels[first], labels[second]) and np.array_equal(probability[first], probability[second])


def test_the_memory_is_what_its_blocks_take_and_the_process_what_the_system_says(walked):
    _, growth, mapper, resident_kib, _ = walked
    cell = 4 * 4 * (3 + 3 + 4 + 1 + 11) + 4 * 32 + (1 + 4 + 4 + 8 + 1 + 1)  # four Gaussians, the feature, tag to label
    block = 512 * cell + 16**3 * 4 + 27 * 4 + 16**3 * (4 + 1 + 1 + 1)  # evidence, neighbours, the voxel map
    last = growth.rooms[-1]
    assert last["blocks"] == len(mapper.map.memory) and last["memory_mb"] == pytest.approx(
        len(mapper.map.memory) * block / 1e6
    )
    value = figures(growth)["bytes_per_voxel"]["value"]
    assert value == pytest.approx(len(mapper.map.memory) * block / len(mapper.map.voxel_map.occupied()[0]), abs=0.1)
    assert last["rss_mb"] == pytest.approx(resident_kib * 1024 / 1e6, abs=15)


def test_every_frame_is_timed_and_late_ones_are_held_against_early_ones_in_turn(walked):
    growth, grown = walked[1], walked[4]
    assert all(len(times) == 2 * FRAMES for times in growth.times.values())
    parts = np.array([growth.times[stage] for stage in ("slice", "memory", "splat")])
    np.testing.assert_allclose(growth.times["sum"], parts.sum(0))
    found = figures(growth)
    # The room is mapped a third time, on an empty plot of the map of two.
    assert grown.map.voxel_map.occupied_count == 3 * growth.rooms[0]["voxels"]
    assert len(growth.pairs["sum"]) == FRAMES and all(early > 0 and late > 0 for early, late in growth.pairs["sum"])
    ratios = sorted(late / early for early, late in growth.pairs["sum"])
    middle = (ratios[FRAMES // 2 - 1] + ratios[FRAMES // 2]) / 2
    assert found["late_over_early"]["sum"]["value"] == pytest.approx(middle, abs=1e-3)
    slowest = found["slowest_frame"]
    assert growth.times["sum"][slowest["frame"]["value"]] == max(growth.times["sum"])


def test_the_early_room_is_where_frame_500_is_and_never_the_last():
    assert [early_room(frames, rooms) for frames, rooms in ((200, 50), (20, 3), (501, 4), (500, 4))] == [2, 1, 0, 1]


def test_a_walk_goes_there_and_back():
    assert [there_and_back(step, 3) for step in range(7)] == [0, 1, 2, 1, 0, 1, 2]
    assert [there_and_back(step, 1) for step in range(3)] == [0, 0, 0]


def test_the_last_room_is_a_twin_and_the_others_follow_in_turn():
    assert room_order(7, 3, 1) == [0, 1, 2, 0, 1, 2, 1]


@pytest.mark.slow
def test_the_command_writes_a_report_a_table_and_a_picture(tmp_path, capsys):
    out, report_file = tmp_path / "out", tmp_path / "growth.json"
    arguments = [
        "bench",
        "growth",
        "--frames",
        "20",
        "--rooms",
        "2",
        "--forget-radius",
        "8",
        "--out",
        str(out),
        "--json",
        str(report_file),
    ]
    assert main(arguments) == 0
    report = json.loads(report_file.read_text())
    assert report == json.loads((out / "report.json").read_text())
    assert set(report["figures"]) == {
        "early",
        "late",
        "late_over_early",
        "slowest_frame",
        "voxels",
        "blocks",
        "memory",
        "bytes_per_voxel",
        "rss_start",
        "rss_end",
    }
    assert [room["frame"] for room in report["rooms"]] == [10, 20]
    first, last = report["rooms"]
    assert last["voxels"] == first["voxels"] > 0 and last["blocks"] == first["blocks"]  # the first room is forgotten
    assert cv2.imread(str(out / "growth.png")).std() > 0
    printed = capsys.readouterr().out
    assert f"target: at most {MOST_TIMES:.1f}" in printed and f"target: at most {MOST_BYTES:.0f}" in printed
    assert "growth.png" in printed


@pytest.mark.parametrize("frames,rooms", [("10", "1"), ("3", "4")])
def test_too_few_frames_or_rooms_are_refused(frames, rooms, capsys):
    assert main(["bench", "growth", "--frames", frames, "--rooms", rooms]) == 1
    assert f"--frames is {frames} and --rooms {rooms}; there must be at least 2 rooms" in capsys.readouterr().err
