"""Model folders and engines: refusals and their messages, the exported graphs, and agreement of all engines."""

import importlib.util
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from safetensors.numpy import save_file

from sgrocc_core.cli import main
from sgrocc_core.engines.export import example_inputs, export_model
from sgrocc_core.engines.graph import check_graph, tidy
from sgrocc_core.engines.model import find_model, load_spec
from sgrocc_core.engines.open import open_engine
from sgrocc_core.engines.weights import build_networks
from sgrocc_core.errors import ConfigError, ModelError

K = np.array([[289.0, 0, 159.5], [0, 289.0, 119.5], [0, 0, 1]])
SMALL = {"image": {}, "expert": {"channels": 8, "wide": 16, "hidden": 16, "offsets": 4, "gaussians": 2, "blocks": 1}}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model of few channels with random weights, batch-norm statistics included."""
    torch.manual_seed(5)
    image, expert = build_networks(SMALL)
    for network in (image, expert):
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    torch.nn.init.normal_(expert.refinements[0].each.weight, std=0.3)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return folder, export_model(image, expert, SMALL, "tiny", folder)


@pytest.fixture
def model(exported, tmp_path):
    """A copy of the model folder that a test may damage."""
    return shutil.copytree(exported[0], tmp_path / "tiny")


def run(engine):
    image, expert = example_inputs()
    picture = (image["image"][0].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
    seen = engine.image(picture, image["mask"][0, 0].numpy(), K, image["gravity"][0].numpy())
    depth = expert["depth"][0, 0].numpy()
    spread = expert["spread"][0, 0].numpy()
    return seen, engine.expert(seen.features, depth, spread, seen.thickness, K, expert["pose"][0].numpy())


def change(model, **values):
    path = model / "model.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))


def test_onnx_agrees_with_pytorch_to_a_thousandth(exported):
    differences = exported[1]
    assert set(differences) >= {"image.onnx:depth", "expert.onnx:means", "expert.onnx:logits"}
    assert max(differences.values()) < 1e-3


def test_both_engines_give_the_same_gaussians(exported):
    seen, gaussians = run(open_engine(exported[0], "onnxruntime", "cpu", 1))
    also_seen, also = run(open_engine(exported[0], "torch", "cpu"))
    assert seen.features.shape == (1, 32, 30, 40) and seen.depth.shape == seen.spread.shape == seen.thickness.shape == (
        60,
        80,
    )
    assert gaussians.means.shape == (16200, 2, 3) and gaussians.features.shape == (16200, 8)
    assert all(value.dtype == np.float32 for value in vars(gaussians).values())
    for name in ("depth", "spread", "thickness"):
        assert np.allclose(getattr(seen, name), getattr(also_seen, name), rtol=1e-3, atol=1e-4), name
    for name, value in vars(gaussians).items():
        other = getattr(also, name)
        assert np.mean(np.abs(value - other) > 1e-3 * np.abs(other).max()) < 1e-4, (
            name
        )  # a sample may fall into the neighbouring pixel


def test_the_trained_sums_of_rows_are_what_was_exported(exported):
    """The torch engine sums with embedding_bag, the graph with Gather and MatMul: both must have lifted something."""
    _, gaussians = run(open_engine(exported[0], "onnxruntime", "cpu", 1))
    assert gaussians.features.std(0).min() > 0


@pytest.mark.parametrize("name", ["image.onnx", "expert.onnx"])
def test_the_graphs_are_what_tensorrt_takes(exported, name):
    graph = onnx.load(str(exported[0] / name), load_external_data=False)
    assert [entry.version for entry in graph.opset_import] == [17]
    operators = {node.op_type for node in graph.graph.node}
    assert not operators & {"If", "Loop", "Scan", "NonZero", "GridSample", "Unique", "ScatterND", "Shape", "TopK"}
    for value in [*graph.graph.input, *graph.graph.output]:
        assert all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim), value.name


def test_inputs_and_outputs_are_as_documented(exported):
    def shapes(name):
        graph = onnx.load(str(exported[0] / name), load_external_data=False).graph
        ends = (graph.input, graph.output)
        return tuple(
            {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values} for values in ends
        )

    assert shapes("image.onnx") == (
        {"image": (1, 3, 240, 320), "mask": (1, 1, 240, 320), "intrinsics": (1, 4), "gravity": (1, 3, 3)},
        {"features": (1, 32, 30, 40), "depth": (1, 1, 60, 80), "spread": (1, 1, 60, 80), "thickness": (1, 1, 60, 80)},
    )
    assert shapes("expert.onnx") == (
        {
            "features": (1, 32, 30, 40),
            "depth": (1, 1, 240, 320),
            "spread": (1, 1, 240, 320),
            "hits": (1, 60, 60, 36),
            "thickness": (1, 1, 60, 80),
            "intrinsics": (1, 4),
            "pose": (1, 4, 4),
            "history": (1, 16200, 8),
            "past": (1, 16200, 3),
        },
        {
            "means": (1, 16200, 2, 3),
            "scales": (1, 16200, 2, 3),
            "rotations": (1, 16200, 2, 4),
            "opacities": (1, 16200, 2),
            "logits": (1, 16200, 2, 11),
            "anchor_features": (1, 16200, 8),
        },
    )


def test_a_graph_with_a_data_dependent_shape_is_refused(tmp_path):
    node = onnx.helper.make_node("NonZero", ["x"], ["y"])
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [4])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT64, [1, None])
    graph = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", [x], [y]), opset_imports=[onnx.helper.make_opsetid("", 17)]
    )
    onnx.save(graph, str(tmp_path / "bad.onnx"))
    with pytest.raises(ModelError, match="NonZero"):
        check_graph(tmp_path / "bad.onnx")


def test_folding_leaves_the_values_and_the_weights_as_they_are(tmp_path):
    """A graph that computes its own shape: (x flattened by its last axis) @ transposed weight, plus 2 + 3."""
    draw = np.random.default_rng(4)
    weight = draw.random((5, 6), np.float32)
    nodes = [
        onnx.helper.make_node("Shape", ["x"], ["shape"]),
        onnx.helper.make_node("Gather", ["shape", "axis"], ["last"]),
        onnx.helper.make_node("Concat", ["minus", "last"], ["flat"], axis=0),
        onnx.helper.make_node("Reshape", ["x", "flat"], ["rows"]),
        onnx.helper.make_node("Transpose", ["network.weight"], ["turned"], perm=[1, 0]),
        onnx.helper.make_node("MatMul", ["rows", "turned"], ["product"]),
        onnx.helper.make_node("Constant", [], ["two"], value_float=2.0),
        onnx.helper.make_node("Add", ["two", "three"], ["five"]),
        onnx.helper.make_node("Add", ["product", "five"], ["y"]),
    ]
    values = {
        "axis": np.array([2]),
        "minus": np.array([-1]),
        "three": np.array(3, np.float32),
        "network.weight": weight,
    }
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 4, 6])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [8, 5])],
        [onnx.numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    path = tmp_path / "g.onnx"
    versions = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=versions, ir_version=8), str(path))
    save_file({"image.weight": weight}, tmp_path / "weights.safetensors")
    tidy(path, tmp_path / "weights.safetensors", {"network.": "image."}, {"x": (2, 4, 6)})
    check_graph(path)
    folded = onnx.load(str(path)).graph
    assert [node.op_type for node in folded.node] == ["Reshape", "Transpose", "MatMul", "Add"]
    kept = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in folded.initializer}
    assert np.array_equal(kept["network.weight"], weight) and kept["five"] == 5
    x = draw.random((2, 4, 6), np.float32)
    (y,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    assert np.allclose(y, x.reshape(8, 6) @ weight.T + 5, rtol=1e-5)


def test_large_tensors_are_stored_once(exported):
    sizes = {path.name: path.stat().st_size for path in exported[0].iterdir()}
    assert sizes["image.onnx"] < 0.05 * sizes["weights.safetensors"]
    assert sum(sizes.values()) < 20e6


def test_the_graphs_carry_no_paths_of_the_machine_that_made_them(exported):
    for name in ("image.onnx", "expert.onnx"):
        assert b".py" not in (exported[0] / name).read_bytes()


def test_a_model_that_is_not_there_lists_where_was_looked():
    with pytest.raises(ModelError, match=r"no model named 'huge'; known: .*searched .*models"):
        load_spec("huge")


def test_a_folder_without_a_model_says_what_makes_one(tmp_path):
    with pytest.raises(ModelError, match=r"there is no model\.yaml"):
        load_spec(tmp_path)


def test_a_model_is_found_by_folder_and_by_file(exported):
    assert find_model(exported[0]) == find_model(exported[0] / "model.yaml") == exported[0]
    assert load_spec(str(exported[0])).gaussians_per_cell == 2


def test_a_missing_file_is_named(model):
    (model / "expert.onnx").unlink()
    with pytest.raises(ModelError, match=r"expert\.onnx is missing"):
        load_spec(model)


def test_a_damaged_file_is_named(model):
    data = bytearray((model / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (model / "weights.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match=r"weights\.safetensors is damaged: its SHA-256 is"):
        load_spec(model)


def test_another_format_version_is_refused(model):
    change(model, format_version=1)
    with pytest.raises(ModelError, match="format_version 1; this release reads version 5"):
        load_spec(model)


def test_other_classes_are_refused(model):
    change(model, classes=["empty", "cat"])
    with pytest.raises(ModelError, match="empty, cat"):
        load_spec(model)


def test_an_unknown_key_is_refused(model):
    change(model, colour="blue")
    with pytest.raises(ModelError, match="unknown key colour"):
        load_spec(model)


def test_broken_yaml_is_refused(model):
    (model / "model.yaml").write_text("files: [")
    with pytest.raises(ModelError, match="cannot read"):
        load_spec(model)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"engine": "magic"}, "engine is 'magic'; it must be one of auto, onnxruntime, openvino, tensorrt"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"precision": "fp16", "engine": "onnxruntime"}, "fp16 needs the tensorrt engine"),
        ({"threads": -1}, "threads is -1"),
    ],
)
def test_a_setting_that_is_not_allowed_is_named(exported, options, message):
    with pytest.raises(ConfigError, match=message):
        open_engine(exported[0], **options)


def test_tensorrt_without_its_package_says_so(exported):
    if importlib.util.find_spec("tensorrt"):
        pytest.skip("TensorRT is installed here")
    with pytest.raises(ModelError, match="needs the Python package tensorrt"):
        open_engine(exported[0], "tensorrt")


def test_cuda_that_is_not_there_is_refused(exported):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ModelError, match="device cuda"):
        open_engine(exported[0], "torch", "cuda")
    with pytest.raises(ModelError, match="device cuda"):
        open_engine(exported[0], "onnxruntime", "cuda")


def test_weights_of_another_network_are_refused(exported, tmp_path):
    (tmp_path / "wide.yaml").write_text("image: {}\nexpert: {channels: 16}\n")
    arguments = [
        "--model",
        tmp_path / "wide.yaml",
        "--weights",
        exported[0] / "weights.safetensors",
        "--out",
        tmp_path / "out",
    ]
    assert main(["export", *map(str, arguments)]) == 1
    assert not (tmp_path / "out").exists()


def test_a_model_without_weights_says_so_when_it_is_exported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    configuration = tmp_path / "nobody.yaml"
    configuration.write_text("image: {}\nexpert: {}\n")
    assert main(["export", "--model", str(configuration)]) == 1
    assert "the model nobody has no weights: there is no /" in capsys.readouterr().err


def test_the_engine_of_robots_does_not_import_torch(exported):
    program = (
        "import sys, numpy as np\nfrom sgrocc_core.engines.open import open_engine\n"
        f"engine = open_engine({str(exported[0])!r}, 'onnxruntime', 'cpu', 1)\n"
        "picture, mask = np.zeros((240, 320, 3), np.uint8), np.ones((240, 320), np.float32)\n"
        "engine.image(picture, mask, np.diag([289., 289., 1.]), np.eye(3))\n"
        "assert not {'torch', 'transformers', 'onnx', 'trimesh'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
