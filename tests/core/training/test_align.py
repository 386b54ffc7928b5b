"""A new image engine takes over an expert: its features are fitted to those that the expert knows."""

import copy
from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip("torch")

from sgrocc_core.cli import main
from sgrocc_core.engines.weights import build_networks
from sgrocc_core.network import weights_file
from sgrocc_core.network.stereo.network import build_stereo
from sgrocc_core.training.compute import choose
from sgrocc_core.training.data.dataset import DatasetOptions, PackedViews
from sgrocc_core.training.data.rolling import make_rolling
from sgrocc_core.training.local.align import LeastSquares, fit_features, fitted_stereo
from tests.samples.rooms.little_room import write_scene

SMALL = Path(__file__).parents[3] / "models" / "small" / "weights.safetensors"
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
    assert fit_features(student, teacher, views, 4, compute).features > 0.99
    assert torch.allclose(student.to_features.bias, teacher.to_features.bias, atol=0.2)


def test_another_engine_comes_nearer_than_the_mean_and_nothing_else_of_it_changes(views):
    teacher, student, compute = engine(0), engine(1), choose("cpu", False)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    fit = fit_features(student, teacher, views, 4, compute)
    assert 0.05 < fit.features < 1
    changed = {name for name, value in student.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"to_features.weight", "to_features.bias"}


class OtherFine(torch.nn.Module):
    """An engine whose fine features are another linear map of the same things."""

    def __init__(self, engine, mix):
        super().__init__()
        self.engine, self.mix, self.to_features = engine, mix, engine.to_features

    def forward(self, *given):
        outputs = self.engine(*given)
        return {**outputs, "fine": torch.einsum("bchw,cd->bdhw", outputs["fine"].float(), self.mix)}


def test_stereo_sees_through_the_fit_what_it_saw_before(views):
    """The new engine's fine features are mixed: stereo with the fitted layers finds the same depth with them."""
    old = engine(0)
    torch.manual_seed(2)
    new = OtherFine(copy.deepcopy(old), torch.linalg.qr(torch.randn(old.fine_channels, old.fine_channels))[0])
    stereo = build_stereo({"planes": 16, "fine": 8, "half": 8, "quarter": 8, "cascade": 4}, old).eval()
    torch.nn.init.normal_(stereo.regulariser.shape.weight)
    torch.nn.init.normal_(stereo.cascade.regulariser.shape.weight)
    tensors = {f"stereo.{name}": value for name, value in stereo.state_dict().items()}
    fit = fit_features(new, old, views, 4, choose("cpu", False))
    assert fit.fine_share > 0.999
    fitted = build_stereo({"planes": 16, "fine": 8, "half": 8, "quarter": 8, "cascade": 4}, old).eval()
    fitted.load_state_dict({n.removeprefix("stereo."): v for n, v in fitted_stereo(tensors, fit.fine).items()})
    before, after = what_stereo_says(old, stereo), what_stereo_says(new, fitted)
    unfitted = what_stereo_says(new, stereo)
    for name, value in before.items():
        error, unfitted_error = ((value - other[name]).abs().max() for other in (after, unfitted))
        assert error < 0.1 * unfitted_error, name


def what_stereo_says(image, stereo):
    """Matching features of both sweeps, and both regularisers' depths at made-up scores."""
    rng = torch.Generator().manual_seed(3)
    picture, mask = torch.rand(1, 3, 240, 320, generator=rng), torch.ones(1, 1, 240, 320)
    with torch.no_grad():
        outputs = image(picture, mask, torch.tensor([[277.0, 277, 159.5, 119.5]]), torch.eye(3)[None])
        given = picture, mask, outputs["fine"], outputs.get("early")
        depth, spread = torch.full((1, 1, 60, 80), 2.0), torch.full((1, 1, 60, 80), 0.4)
        scores = torch.rand(1, 16, 60, 80, generator=rng)
        first = stereo(scores, torch.ones(1, 16, 60, 80), outputs["fine"], depth, spread)
        second = stereo.cascade(scores[:, :4], torch.ones(1, 4, 60, 80), outputs["fine"], depth, spread)
    answers = {"first": first["depth"], "second": second["depth"]}
    return answers | {"matching": stereo.matching(*given), "finer": stereo.cascade.matching(*given)}


def test_without_a_fit_stereo_stays_and_nothing_else_is_taken():
    tensors = {"stereo.matching.fine.weight": torch.rand(3, 2, 1, 1), "image.x": torch.rand(2)}
    found = fitted_stereo(tensors, None)
    assert list(found) == ["stereo.matching.fine.weight"]
    assert torch.equal(found["stereo.matching.fine.weight"], tensors["stereo.matching.fine.weight"])


def test_least_squares_with_a_constant_and_in_parts():
    generator = torch.Generator().manual_seed(0)
    x, a, b = (torch.randn(*size, generator=generator).double() for size in ((500, 4), (4, 3), (3,)))
    found = LeastSquares(4, 3, True)
    for part in x.split(90):
        found.add(part, part @ a + b)
    solution, explained = found.solve()
    assert torch.allclose(solution, torch.cat([a, b[None]]), atol=1e-3)
    assert explained > 0.9999


def test_without_a_model_to_take_over_the_command_says_what_it_needs(tmp_path, capsys):
    assert main(["train", "align", "--data", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "a model, --like MODEL" in capsys.readouterr().err


def test_an_expert_of_another_shape_is_not_taken_over(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("model: small\nnetwork: {channels: 16}\n")
    (tmp_path / "image.safetensors").write_bytes(b"")
    options = ["--config", str(tmp_path / "config.yaml"), "--start", str(tmp_path / "image.safetensors")]
    assert main(["train", "align", *options, "--like", "small", "--data", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "cannot be taken over, its configuration differs: channels 32 and 16" in capsys.readouterr().err


@pytest.mark.parametrize(("variant", "stereo"), [("lite0", True), ("lite2", False)])
def test_stereo_is_taken_over_only_by_an_engine_with_the_same_map_at_stride_2(variant, stereo, tmp_path, capsys):
    """Lite2's map has as many channels, but others: stereo would read it as if it were that of Lite0."""
    make_rolling(tmp_path, 5)
    write_scene(tmp_path / "room", 1, 2)
    image = {"kind": "efficientnet_lite", "variant": variant, "pyramid": 32}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": "small", "image": image, "threads": 1}))
    engine = build_networks({"image": image, "expert": {}})[0]
    if stereo:
        weights_file.load_weights(engine.backbone, weights_file.read_weights(SMALL), "image.backbone.", SMALL)
    weights_file.save_model(tmp_path / "image.safetensors", {"image.": engine})
    options = ["--config", str(tmp_path / "config.yaml"), "--start", str(tmp_path / "image.safetensors")]
    data = ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(["train", "align", *options, "--like", "small", *data]) == 0
    (written,) = (tmp_path / "out").glob("*.safetensors")
    kept = {name.split(".")[0] for name in weights_file.read_weights(written)}
    assert kept == {"image", "expert"} | ({"stereo"} if stereo else set())
    assert ("not taken over" in capsys.readouterr().out) != stereo
