"""Two processes that train as one: the same losses, gradients and metrics as one process with the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file

from sgrocc_core.data.embodied_scannet import EmbodiedScanNet
from sgrocc_core.errors import ConfigError
from sgrocc_core.network import weights_file
from sgrocc_core.training import distribution
from sgrocc_core.training.data.sequences import pack_walks
from sgrocc_core.training.distribution import Processes, RankShare
from tests.samples.rooms.little_room import write_scene
from tests.samples.rooms.little_walks import make_walks

ROOT = Path(__file__).parents[3]
STEPS = 2
Run = tuple[dict[str, Any], dict[str, Any], Path]


def run(packed: Path, out: Path, processes: int, kind: str = "local", steps: int = STEPS) -> Run:
    out.mkdir()
    launcher = (
        [] if processes == 1 else ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    )
    command = [
        sys.executable,
        *launcher,
        str(ROOT / "tests/samples/two_processes.py"),
        kind,
        str(packed),
        str(out),
        str(steps),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((out / "found.json").read_text()), load_file(out / "found.safetensors"), out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    folder = tmp_path_factory.mktemp("runs")
    write_scene(folder / "packed" / "room", 5, 3, size=(64, 48))
    with ThreadPoolExecutor() as beside:
        one, two = (beside.submit(run, folder / "packed", folder / str(count), count) for count in (1, 2))
        return one.result(), two.result()


def test_two_processes_have_the_losses_of_one(runs: tuple[Run, Run]) -> None:
    one, two = runs[0][0]["steps"], runs[1][0]["steps"]
    assert (runs[0][0]["count"], runs[1][0]["count"]) == (1, 2) and len(one) == len(two) == STEPS
    assert one[0].keys() == two[0].keys() and {"depth", "focal", "coarse", "regularisation"} <= set(one[0])
    for name, value in one[0].items():
        assert two[0][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    for step in range(1, STEPS):  # AdamW's first steps make much of the rounding of gradients near zero
        assert two[step]["loss"] == pytest.approx(one[step]["loss"], rel=2e-3)


def test_two_processes_have_the_gradients_of_one(runs: tuple[Run, Run]) -> None:
    one, two = runs[0][1], runs[1][1]
    assert one.keys() == two.keys() and len(one) > 50
    largest = max(value.abs().max().item() for value in one.values())
    for name, value in one.items():
        # The views are enlarged to the input's size: sums over 76,800 pixels in float32, in another order.
        bound = 2e-3 * value.abs().max().item() + 1e-6 * largest
        assert (two[name] - value).abs().max().item() <= bound, name


def test_two_processes_have_the_metrics_of_one(runs: tuple[Run, Run]) -> None:
    one, two = runs[0][0], runs[1][0]
    assert {"abs_rel", "miou_2d", "predicted_sc_iou", "sensor_miou"} <= set(one["before"])
    for name, value in one["before"].items():  # of five views, three counted by one process and two by the other
        assert two["before"][name] == pytest.approx(value, rel=1e-6), name
    for name, value in one["after"].items():
        assert two["after"][name] == pytest.approx(value, rel=1e-2, abs=2e-3), name


@pytest.mark.slow
def test_two_processes_train_on_walks_as_one(tmp_path: Path) -> None:
    """Two walks with their memories, one per process: losses, gradients and figures of held-out walks are the same."""
    make_walks(tmp_path)
    data = EmbodiedScanNet(tmp_path / "train", "train", (320, 240))
    pack_walks(data, tmp_path / "packed")
    one, two = (run(tmp_path / "packed", tmp_path / str(n), n, "embodied", 2) for n in (1, 2))
    first, second = ([found[0]["steps"][k] for found in (one, two)] for k in (0, 1))
    assert {"focal", "memory_focal"} <= set(first[0])
    for name, value in first[0].items():
        assert first[1][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    assert second[1]["loss"] == pytest.approx(
        second[0]["loss"], rel=2e-3
    )  # the memories hold what the first step put there
    largest = max(value.abs().max().item() for value in one[1].values())
    assert one[1].keys() == two[1].keys() and any(name.startswith("expert.fusion") for name in one[1])
    for name, value in one[1].items():
        assert (two[1][name] - value).abs().max().item() <= 1e-3 * value.abs().max().item() + 1e-6 * largest, name
    for name, value in one[0]["before"].items():
        assert two[0]["before"][name] == pytest.approx(value, rel=1e-6), name
    for name, value in one[0]["after"].items():
        assert two[0]["after"][name] == pytest.approx(value, rel=1e-2, abs=2e-3), name


def test_batch_norms_share_their_statistics(runs: tuple[Run, Run]) -> None:
    one, two = (
        weights_file.read_weights(out / "process0" / "joint.checkpoint.safetensors") for _, _, out in (runs[0], runs[1])
    )
    assert one.keys() == two.keys()
    statistics = [name for name in one if name.startswith(("image.", "expert.")) and "running_" in name]
    assert len(statistics) > 20
    for name in statistics:
        scale = one[name].abs().max().item()
        assert torch.allclose(one[name], two[name], rtol=2e-2, atol=2e-3 * scale), name


def test_only_the_first_process_writes(runs: tuple[Run, Run]) -> None:
    _, _, out = runs[1]
    assert (out / "process0" / "joint.jsonl").is_file() and (out / "process0" / "joint.weights.safetensors").is_file()
    assert not (out / "process1").exists()


def test_processes_notice_when_they_see_different_things(runs: tuple[Run, Run]) -> None:
    found = runs[1][0]
    assert found["same"] and not found["different"] and not found["other_length"]


def test_each_process_takes_its_own_places_of_every_batch() -> None:
    whole = [[(v, step, place) for place, v in enumerate(range(10 * step, 10 * step + 6))] for step in range(3)]
    shares = [list(RankShare(whole, Processes(rank, 3), 6)) for rank in range(3)]  # type: ignore[arg-type]
    assert [[*first, *second, *third] for first, second, third in zip(*shares, strict=True)] == whole
    assert [place for _, _, place in shares[1][0]] == [2, 3]


def test_a_batch_that_does_not_split_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch is 3; with 2 processes"):
        Processes(0, 2).places(3)


def test_a_process_alone_shares_with_nobody() -> None:
    assert distribution.here() == Processes()
    assert distribution.shared_total(torch.tensor(0.25), at_least=1.0).item() == 1.0
    assert distribution.summed(np.array([3.0])).tolist() == [3.0] and distribution.from_first([1.5]) == [1.5]
