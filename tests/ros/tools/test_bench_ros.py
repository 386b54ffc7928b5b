"""`sgrocc bench ros`: evaluation of the received messages, and a complete run with three processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from sgrocc_core.data.synthetic.bag import write_walk
from sgrocc_ros.messages import voxel_points
from sgrocc_ros.tools.bench import SLOPE_OVER, WARMING, Sample, exact_snapshots, slope
from tests.ros.harness import ROOT, model_folder


def _cloud(sequence: int, voxels: dict[tuple[int, int, int], int]) -> np.ndarray:
    labels = np.array(list(voxels.values()), np.uint8)
    points = voxel_points(np.array(list(voxels)).reshape(-1, 3), labels, np.where(labels > 0, 0.75, 0.0))
    points["sequence"] = sequence
    return points


A, B, C = (0, 0, 0), (1, 0, 0), (5, -3, 2)


def test_snapshots_are_compared_with_the_updates_before_them_in_either_order():
    clouds = [
        (True, _cloud(1, {A: 3})),
        (False, _cloud(2, {B: 4, A: 0})),
        (True, _cloud(2, {B: 4})),
        (True, _cloud(3, {B: 4, C: 1})),
    ]
    assert exact_snapshots([*clouds, (False, _cloud(3, {C: 1}))]) == (2, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        [(True, _cloud(1, {A: 3})), (False, _cloud(2, {B: 4})), (True, _cloud(2, {B: 4}))],  # A was not freed
        [(True, _cloud(1, {A: 3})), (False, _cloud(2, {B: 4})), (True, _cloud(2, {A: 3, B: 5}))],  # another label
        [(True, _cloud(1, {A: 3})), (True, _cloud(3, {A: 3}))],  # its updates never arrived
    ],
    ids=["voxel", "label", "gap"],
)
def test_a_snapshot_that_is_not_what_the_updates_gave_is_counted(wrong):
    assert exact_snapshots(wrong) == (1, 0)


def test_the_slope_is_that_after_warming_and_needs_some_samples():
    images = range(0, 20_000, 500)
    samples = [Sample(n, 1000.0 + (0.5 * n if n < WARMING else 0.01 * n), 20, 5) for n in images]
    assert slope(samples) == pytest.approx(0.01 * SLOPE_OVER / 1110, rel=0.02)
    assert slope(samples[:10]) is None


@pytest.mark.slow
def test_a_run_counts_every_image_and_checks_every_snapshot(tmp_path):
    bag = tmp_path / "walk"
    write_walk(bag, seed=3, frames=30, size=(160, 120))
    report_file = tmp_path / "report.json"
    command = [
        sys.executable,
        "-m",
        "sgrocc_core.cli",
        "bench",
        "ros",
        "--bag",
        bag,
        "--model",
        model_folder(),
        "--depth-source",
        "fused",
    ]
    options = ["--images", "60", "--rate", "0.5", "--idle", "2", "--out", str(tmp_path), "--json", str(report_file)]
    settings = {"ROS_DOMAIN_ID": str(90 + os.getpid() % 10), "ROS_PYTHON_CHECK_FIELDS": "1"}
    done = subprocess.run(
        [*map(str, command), *options],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env=os.environ | settings,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(report_file.read_text())
    figures, stages = report["figures"], report["stages"]
    assert figures["sent"]["value"] == figures["received"]["value"] == 60 and figures["lost"]["value"] == 0
    assert figures["lost_without_a_count"]["value"] == 0 and figures["errors_logged"]["value"] == 0
    assert figures["mapped"]["value"] + sum(figures["dropped"].values()) == 60
    assert stages["publish_to_update_received"]["p50"] > 0 and stages["node.total"]["p50"] > 0
    assert len(figures["threads"]) == 1 and figures["rss_slope"] is None and figures["voxels"]["value"] > 100
    assert "publish_to_update_received" in done.stdout and "lost_without_a_count" in done.stdout


def test_a_bag_that_is_not_there_is_one_line(tmp_path):
    command = [sys.executable, "-m", "sgrocc_core.cli", "bench", "ros", "--bag", "/no/such/bag", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 1 and done.stderr.startswith("error: no such file or folder: /no/such/bag")
