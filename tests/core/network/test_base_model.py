"""The base model as deployed: exported with fixed shapes, equal in every engine, usable for mapping, small."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import yaml

pytest.importorskip("torch", reason="PyTorch is not installed: make setup-train")
pytest.importorskip("transformers", reason="transformers is not installed: make setup-train")

import onnx
import torch

from sgrocc_core.cli import main
from sgrocc_core.engines import graph
from sgrocc_core.engines.export import example_inputs, export_model
from sgrocc_core.engines.model import load_spec
from sgrocc_core.engines.open import open_engine
from sgrocc_core.engines.weights import build_networks
from sgrocc_core.errors import ModelError
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from sgrocc_core.network.expert.spatial_expert import ExpertConfig
from sgrocc_core.share import find_shared
from tests.samples.rooms.scene import walk
from tests.samples.tiny_prior import BASE, enliven, published

K = np.array([[63.0, 0, 34.5], [0, 63.0, 27.5], [0, 0, 1]])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A base model of few channels with random weights; its matrices are treated as large and are stored once."""
    torch.manual_seed(5)
    image, expert = build_networks(BASE)
    enliven(image)
    torch.nn.init.normal_(expert.refinements[0].each.weight, std=0.3)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "TRANSPOSED_BYTES", 2048)
        return folder, export_model(image, expert, BASE, "tiny", folder)


def test_onnx_agrees_with_pytorch_to_a_thousandth(exported):
    assert {"image.onnx:features", "image.onnx:depth", "expert.onnx:means"} <= set(exported[1])
    assert max(exported[1].values()) < 1e-3


def test_the_description_says_the_sizes(exported):
    spec = load_spec(exported[0])
    assert (spec.image_size, spec.feature_stride, spec.head_stride) == ((70, 56), 7, 7)
    assert spec.canonical_focal == 598.0 and spec.feature_channels == 12 and spec.offsets == 16


def test_inputs_and_outputs_are_those_of_every_model_in_this_models_sizes(exported):
    def shapes(name):
        found = onnx.load(str(exported[0] / name), load_external_data=False).graph
        return [
            {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in end}
            for end in (found.input, found.output)
        ]

    assert shapes("image.onnx") == [
        {"image": (1, 3, 56, 70), "mask": (1, 1, 56, 70), "intrinsics": (1, 4), "gravity": (1, 3, 3)},
        {"features": (1, 8, 8, 10), "depth": (1, 1, 8, 10), "spread": (1, 1, 8, 10), "thickness": (1, 1, 8, 10)},
    ]
    assert shapes("expert.onnx")[0] == {
        "features": (1, 8, 8, 10),
        "depth": (1, 1, 56, 70),
        "spread": (1, 1, 56, 70),
        "hits": (1, 60, 60, 36),
        "thickness": (1, 1, 8, 10),
        "intrinsics": (1, 4),
        "pose": (1, 4, 4),
        "history": (1, 16200, 12),
        "past": (1, 16200, 3),
    }


def test_no_positions_are_interpolated_at_run_time(exported):
    nodes = onnx.load(str(exported[0] / "image.onnx"), load_external_data=False).graph.node
    resizes = [{a.name: a.s for a in node.attribute}["mode"] for node in nodes if node.op_type == "Resize"]
    assert (
        resizes == [b"linear"] * 5
    )  # the neck's four levels and the depth head; a table of positions would be resized cubically


def test_matrices_are_stored_once_also_where_the_graph_turns_them(exported):
    model = onnx.load(str(exported[0] / "image.onnx"), load_external_data=False)
    assert [t.name for t in model.graph.initializer if len(t.raw_data) >= 2048 and "MatMul" in t.name] == []
    turned = [node for node in model.graph.node if node.op_type == "Transpose" and node.input[0].endswith("_stored")]
    assert len(turned) == 4 * 6  # of each layer: query, key, value, output and the two of its feed-forward part


def test_all_engines_give_the_same(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kinds = ["onnxruntime", "torch", *(["openvino"] if importlib.util.find_spec("openvino") else [])]
    _, feed = example_inputs(load_spec(exported[0]).grid, 8)
    picture = np.random.default_rng(0).integers(0, 256, (56, 70, 3), dtype=np.uint8)
    found = []
    for name in kinds:
        engine = open_engine(exported[0], name, "cpu", 0 if name == "torch" else 1)
        seen = engine.image(picture, np.ones((56, 70), np.float32), K, np.eye(3))
        depth, spread, thickness = (feed[name][0, 0].numpy() for name in ("depth", "spread", "thickness"))
        found.append((seen, engine.expert(seen.features, depth, spread, thickness, K, feed["pose"][0].numpy())))
    for pair in ((found[0], other) for other in found[1:]):
        for one, two in zip(*pair):
            for name, value in vars(one).items():
                if value is None:  # what only a model with stereo gives
                    continue
                assert np.abs(value - getattr(two, name)).max() <= 1e-3 * np.abs(value).max(), name


@pytest.mark.parametrize("source", ["mono", "fused"])
def test_the_mapper_maps_with_it(exported, source):
    mapper = OccupancyMapper(open_engine(exported[0], "onnxruntime", "cpu", 1), MapperConfig(depth_source=source))
    update = mapper.step(walk(1)[0])
    assert update.depth.shape == (52, 70)  # 320 x 240 in 70 x 56
    assert mapper.map.memory.arrays() and len(mapper.map.voxel_map.blocks()) > 0


def test_a_robot_runs_it_without_torch_and_transformers(exported):
    program = (
        "import sys, numpy as np\nfrom sgrocc_core.mapping.mapper import MapperConfig\n"
        "from sgrocc_core.mapping.warm_up import warm_up\nfrom sgrocc_core.engines.open import open_engine\n"
        f"warm_up(open_engine({str(exported[0])!r}, 'onnxruntime', 'cpu', 1), MapperConfig())\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_a_stride_that_does_not_divide_the_image_is_refused(exported, tmp_path):
    values = yaml.safe_load((exported[0] / "model.yaml").read_text())
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({**values, "head_stride": 4}))
    with pytest.raises(ModelError, match="head_stride is 4; it must divide the image's width 70 and height 56"):
        load_spec(tmp_path)


def test_the_base_model_is_of_the_papers_size():
    values = yaml.safe_load(find_shared("config/models/base.yaml").read_text())
    expert = ExpertConfig(**values["expert"])
    assert (expert.channels, expert.feature_channels, expert.offsets, expert.blocks) == (96, 96, 16, 3)
    assert values["image"]["channels"] == 96 and values["image"]["image_size"] == [644, 490]
    assert (values["image"]["kind"], values["image"]["size"]) == ("depth_anything_v2", "small")


def test_export_fills_the_prior_from_a_folder(tmp_path, capsys):
    published(tmp_path / "prior")
    (tmp_path / "tiny.yaml").write_text(json.dumps(BASE))
    arguments = [
        "--model",
        tmp_path / "tiny.yaml",
        "--untrained",
        "--prior",
        tmp_path / "prior",
        "--out",
        tmp_path / "out",
    ]
    assert main(["export", *map(str, arguments)]) == 0
    assert f"published weights from {tmp_path / 'prior'}" in capsys.readouterr().out
    assert load_spec(tmp_path / "out").networks["image"]["kind"] == "depth_anything_v2"


def test_export_without_the_prior_says_how_to_get_it(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(json.dumps(BASE))
    arguments = [
        "--model",
        tmp_path / "tiny.yaml",
        "--untrained",
        "--prior",
        tmp_path / "nowhere",
        "--out",
        tmp_path / "out",
    ]
    assert main(["export", *map(str, arguments)]) == 1
    assert "hf download depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["--model", "own", "--untrained", "--prior", "--out", "x"],
            "the image engine of own has no published prior",
        ),
        (["--model", "small", "--prior"], "--prior needs --untrained"),
    ],
)
def test_a_prior_that_is_of_no_use_is_refused(arguments, message, capsys):
    assert main(["export", *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_at_full_size_the_export_agrees_with_pytorch(tmp_path):
    values = yaml.safe_load(find_shared("config/models/base.yaml").read_text())
    torch.manual_seed(5)
    image, expert = build_networks(values)
    enliven(image)
    differences = export_model(image, expert, values, "base", tmp_path)
    assert max(differences.values()) < 1e-3
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes["image.onnx"] < 1e6 and 130e6 < sizes["weights.safetensors"] < 150e6
    assert load_spec(tmp_path).grid.feature_shape == (70, 92)
