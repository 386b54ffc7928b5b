"""The mean of two weights files: what `sgrocc train mean` writes and `sgrocc adapt` falls back to."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make setup-train")

from sgrocc_core.cli import main
from sgrocc_core.engines.model import load_spec
from sgrocc_core.errors import ModelError
from sgrocc_core.network.weights_file import mean_of, read_weights, save_model


def written(path: Path, **tensors: object) -> Path:
    save_model(path, {}, {name.replace("_", ".", 1): torch.tensor(value) for name, value in tensors.items()})
    return path


def test_every_weight_is_the_mean_and_what_one_file_may_lack_comes_from_the_other(tmp_path: Path) -> None:
    first = written(tmp_path / "a", image_w=[1.0, 5.0], image_count=3)
    second = written(tmp_path / "b", image_w=[2.0, 1.0], image_count=3, **{"expert_fusion.w": [7.0]})
    mean_of(first, second, tmp_path / "mean")
    found = read_weights(tmp_path / "mean")
    assert found["image.w"].tolist() == [1.5, 3.0]
    assert found["image.count"].item() == 3 and found["image.count"].dtype == torch.int64
    assert found["expert.fusion.w"].tolist() == [7.0]


@pytest.mark.parametrize(
    "other", [{"image_v": [1.0]}, {"image_w": [1.0, 2.0, 3.0]}, {"image_w": [1.0], "stereo_w": [1.0]}]
)
def test_weights_of_other_networks_have_no_mean(tmp_path: Path, other: dict[str, object]) -> None:
    first, second = written(tmp_path / "a", image_w=[1.0]), written(tmp_path / "b", **other)
    with pytest.raises(ModelError, match="hold different networks"):
        mean_of(first, second, tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_the_command_averages_trained_weights_with_those_of_their_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_weights(load_spec("small").folder / "weights.safetensors")
    save_model(tmp_path / "after", {}, {name: value + 2.0 for name, value in before.items()})
    asked = ["train", "mean", "--out", str(tmp_path)]
    assert main([*asked, "--start", str(tmp_path / "after"), "--like", "small"]) == 0
    mean = read_weights(tmp_path / "mean.weights.safetensors")
    assert all(torch.allclose(mean[name], value + 1.0, atol=1e-5, rtol=1e-5) for name, value in before.items())
    assert main([*asked, "--like", "small"]) == 1
    assert "needs the trained weights, --start FILE" in capsys.readouterr().err
