"""A new image engine takes over an expert: its features are fitted to those that the expert knows."""

import copy

import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.cli import main
from sgrocc_core.engines.weights import build_networks
from sgrocc_core.training.compute import choose
from sgrocc_core.training.data.dataset import DatasetOptions, PackedViews
from sgrocc_core.training.local.align import fit_features
from tests.samples.little_room import write_scene

NETWORKS = {
    "image": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]},
    "expert": {"channels": 8, "wide": 8, "hidden": 16, "offsets": 2, "gaussians": 1, "blocks": 1},
}


@pytest.fixture
def views(tmp_path):
    write_scene(tmp_path / "room", 3, 4)
    return PackedViews([tmp_path], DatasetOptions(augment=False))


def engine(seed):
    torch.manual_seed(seed)
    return build_networks(NETWORKS)[0].eval()


def test_features_that_are_linear_in_the_pyramid_are_found_again(views):
    teacher, compute = engine(0), choose("cpu", False)
    student = copy.deepcopy(teacher)
    torch.nn.init.normal_(student.to_features.weight)
    torch.nn.init.normal_(student.to_features.bias)
    assert fit_features(student, teacher, views, 4, compute) > 0.99
    assert torch.allclose(student.to_features.bias, teacher.to_features.bias, atol=0.2)


def test_another_engine_comes_nearer_than_the_mean_and_nothing_else_of_it_changes(views):
    teacher, student, compute = engine(0), engine(1), choose("cpu", False)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    explained = fit_features(student, teacher, views, 4, compute)
    assert 0.05 < explained < 1
    changed = {name for name, value in student.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"to_features.weight", "to_features.bias"}


def test_without_a_model_to_take_over_the_command_says_what_it_needs(tmp_path, capsys):
    assert main(["train", "align", "--data", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "a model, --like MODEL" in capsys.readouterr().err


def test_an_expert_of_another_shape_is_not_taken_over(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("model: small\nnetwork: {channels: 16}\n")
    (tmp_path / "image.safetensors").write_bytes(b"")
    options = ["--config", str(tmp_path / "config.yaml"), "--start", str(tmp_path / "image.safetensors")]
    assert main(["train", "align", *options, "--like", "small", "--data", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "cannot be taken over, its configuration differs: channels 32 and 16" in capsys.readouterr().err
