"""`sgrocc bench gpu` where there is no GPU: what it says, how checks end, and the made-up batch that it trains on."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make setup-train")

from sgrocc_core.bench.gpu.checks import CHECKS, maps
from sgrocc_core.bench.gpu.command import SHARES, _so_far, gpu_table, run_check
from sgrocc_core.bench.gpu.splat import measure_splat
from sgrocc_core.bench.gpu.training import made_up_batch, shell, training_step
from sgrocc_core.cli import main
from sgrocc_core.geometry.image_grid import ImageGrid
from sgrocc_core.training.data.dataset import IN_VIEW

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@without_gpu
def test_a_machine_without_a_gpu_is_told_so_in_a_sentence(tmp_path, capsys) -> None:
    assert main(["bench", "gpu", "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("error: no CUDA device: ")
    assert not (tmp_path / "out").exists()


def test_unknown_checks_are_refused(capsys) -> None:
    assert main(["bench", "gpu", "--checks", "card,speed"]) == 1
    assert "--checks has 'speed'; it must be some of card, splat" in capsys.readouterr().err


def test_every_check_has_a_share_of_the_time() -> None:
    assert list(SHARES) == list(CHECKS) and all(0 < share < 1 for share in SHARES.values())


@pytest.mark.slow
@without_gpu
def test_a_check_that_fails_gives_its_reason_and_one_that_hangs_is_ended() -> None:
    found = run_check("card", "small", 100)
    assert "failed" in found and ("CUDA" in found["failed"] or "cuda" in found["failed"])
    assert run_check("card", "small", 1.01)["failed"] == "ended after 1 s"
    assert run_check("card", "small", 0)["failed"] == "not run: no time was left"


def test_a_check_that_is_ended_leaves_the_figures_it_had() -> None:
    whole, cut = 'so far: {"small fp16": {"K_4": 1}}', 'so far: {"small fp16": {"K_4"'
    assert _so_far(f"a table\n{whole}\nanother\n{cut}".encode()) == {
        "small fp16": {"K_4": 1},
        "output": ["a table", "another"],
    }
    assert _so_far(None) == {}


def test_the_table_names_figures_and_failures() -> None:
    figures = {
        "card": {"name": "A card", "copy": {"value": 1234.5, "unit": "GB/s"}, "seconds": 3.0},
        "splat": {"failed": "it differs", "output": ["first"], "seconds": 1.0},
    }
    assert gpu_table({"figures": figures}).splitlines() == [
        "card: name A card, copy 1234 GB/s, seconds 3.0", "first", "splat: failed: it differs",
    ]  # fmt: skip


def test_the_made_up_room_is_closed_and_its_batch_agrees_with_it() -> None:
    labels = shell()
    assert (
        (labels[1:-1, 1:-1, 1:32] == 0).all() and (labels[0, :, 1:32] == 3).all() and (labels[:, :, 33:] == 255).all()
    )
    batch = made_up_batch(ImageGrid((160, 120), 8, 4), 2)
    assert batch["image"].shape == (2, 3, 120, 160) and batch["target"].shape == (2, 60, 60, 36)
    for name, value in batch.items():
        assert torch.equal(value[0], value[1]), name
    # Every pixel sees matter: the depth image ends in the shell.
    assert set(np.unique(batch["labels"])) <= {1, 2, 3} and (batch["depth"] > 0).all()
    assert (batch["thickness"] > 0).float().mean() > 0.95
    assert int((batch["state"][0] == IN_VIEW).sum()) > 10_000


@pytest.mark.slow
def test_the_splat_of_gpus_passes_its_check_on_a_cpu_too() -> None:
    found = measure_splat("cpu", 300, 1)
    assert found["error"]["value"] < 1e-5 and 0 < found["forward"]["value"] < found["forward_and_backward"]["value"]
    assert found["triton"].startswith("not run: Triton ") and "failed" not in found


@pytest.mark.slow
def test_the_maps_of_two_engines_agree() -> None:
    found = maps("small", "cpu")
    assert found["agree"]["value"] > 0.999 and found["measure"].startswith("ONNX Runtime")


@pytest.mark.slow
def test_training_steps_lower_the_loss(tmp_path) -> None:
    model = tmp_path / "tiny.yaml"
    model.write_text(
        "image: {channels: 4, widths: [8, 8, 8, 8], blocks: [1, 1, 1, 1]}\n"
        "expert: {channels: 4, wide: 4, hidden: 8, feature_channels: 4, offsets: 2, gaussians: 1, blocks: 1}\n"
    )
    found = training_step(str(model), 3, "cpu")
    assert found["loss_last"]["value"] < found["loss_first"]["value"] and found["step"]["value"] > 0
    json.dumps(found)
