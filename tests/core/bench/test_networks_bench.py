"""`sgrocc bench engines`, `samples` and `roofline`: their counts by hand, and their reports."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sgrocc_core.bench.networks.engines import largest_difference
from sgrocc_core.bench.networks.roofline import Ceilings, Work, graph_work
from sgrocc_core.cli import main


def error_of(capsys, *arguments: str) -> str:
    assert main(["bench", *arguments]) == 1
    return capsys.readouterr().err


def test_a_difference_is_a_share_of_the_outputs_largest_value() -> None:
    expected = {"a.onnx:x": np.array([1.0, -4.0]), "a.onnx:y": np.array([10.0]), "b.onnx:x": np.array([1.0])}
    found = {"a.onnx:x": np.array([1.5, -4.0]), "a.onnx:y": np.array([10.1]), "b.onnx:x": np.array([3.0])}
    assert largest_difference(found, expected, "a.onnx") == pytest.approx(0.125)
    assert largest_difference(found, expected, "b.onnx") == pytest.approx(2.0)


def test_unknown_runtimes_and_precisions_are_refused(capsys) -> None:
    for name in ("onnxruntime:fp16", "fast", "openvino:int8"):
        assert f"--engines has '{name}'; it must be some of onnxruntime, openvino" in error_of(
            capsys, "engines", "--engines", name
        )


@pytest.mark.slow
def test_runtimes_are_compared_and_the_first_is_the_measure(tmp_path, capsys) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed: requirements/openvino.txt")
    arguments = ["--engines", "onnxruntime,openvino", "--frames", "2", "--json", str(tmp_path / "report.json")]
    assert main(["bench", "engines", *arguments]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    for graph in ("image.onnx", "expert.onnx", "stereo.onnx"):
        measure, other = (report["figures"][name][graph] for name in ("onnxruntime", "openvino"))
        assert measure["ratio"]["value"] == 1 and measure["error"]["value"] < 1e-6
        assert other["ratio"]["value"] > 0 and 0 < other["error"]["value"] < 1e-3
        assert report["stages"][f"{graph} openvino"]["count"] == 2
    assert "OpenVINO" in capsys.readouterr().out


@pytest.mark.slow
def test_what_cannot_run_here_is_said_and_not_an_error(capsys) -> None:
    assert main(["bench", "engines", "--frames", "1"]) == 0
    text = capsys.readouterr().out
    for name in ("onnxruntime", "openvino", "openvino:bf16", "torch"):
        (line,) = (line for line in text.splitlines() if line.startswith(f"{name}: "))
        assert line.startswith(f"{name}: not used: ") or f"{name} " in text.partition("p95 ms")[2]
    assert "onnxruntime: ONNX Runtime" in text


def test_operations_of_samples_are_those_counted_by_hand() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: make setup-train")
    from sgrocc_core.bench.networks.samples import operations

    image = {"channels": 4, "widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]}
    expert = {"channels": 4, "wide": 4, "hidden": 8, "feature_channels": 4, "gaussians": 1, "blocks": 2}
    few, many = (operations({"image": image, "expert": expert | {"offsets": k}}) for k in (3, 8))
    cells, channels, blocks = 16_200, 4, 2
    # A sample has three offsets, which are turned into the camera's frame, and an attention, all from the features.
    assert many.expert - few.expert == (8 - 3) * cells * blocks * (2 * channels * 4 + 2 * 3 * 3)
    # A bilinear sample weighs four corners.
    assert few.sampling == cells * blocks * 3 * channels * 4 * 2
    assert many.image == few.image > 0 and many.total == many.image + many.expert + many.sampling


def test_samples_refuse_what_they_cannot_do(capsys) -> None:
    assert "--counts is '4,x'; it must be whole numbers" in error_of(capsys, "samples", "--counts", "4,x")
    assert "--counts is '0'" in error_of(capsys, "samples", "--counts", "0")
    assert "--precision fp16 is for --device cuda" in error_of(capsys, "samples", "--precision", "fp16")


@pytest.mark.slow
def test_samples_are_beside_those_of_the_paper(tmp_path, capsys) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: make setup-train")
    report_file = tmp_path / "report.json"
    model = tmp_path / "tiny.yaml"
    model.write_text(
        "image: {channels: 4, widths: [8, 8, 8, 8], blocks: [1, 1, 1, 1]}\n"
        "expert: {channels: 4, wide: 4, hidden: 8, feature_channels: 4, gaussians: 1, blocks: 1}\n"
    )
    common = ["bench", "samples", "--model", str(model), "--counts", "4,5", "--frames", "2", "--json", str(report_file)]
    for engine in ("torch", "onnxruntime"):
        assert main([*common, "--engine", engine]) == 0
        report = json.loads(report_file.read_text())
        assert report["figures"]["K_4"]["paper"]["operations"]["value"] == 18.5
        assert "paper" not in report["figures"]["K_5"] and report["stages"]["K_5"]["count"] == 2
        rate = report["figures"]["K_4"]["frames_per_second"]["value"]
        assert rate == pytest.approx(1000 / report["stages"]["K_4"]["p50"], rel=0.01)
    assert "ONNX Runtime" in capsys.readouterr().out


def test_a_stage_is_limited_by_the_slower_of_arithmetic_and_memory() -> None:
    top = Ceilings(operations=100e9, bytes=10e9)
    assert top.least_ms(Work(operations=1e9, least_bytes=10e6)) == pytest.approx(10.0)
    assert top.least_ms(Work(operations=1e9, least_bytes=200e6)) == pytest.approx(20.0)


def test_operations_and_bytes_of_a_graph_are_those_counted_by_hand(tmp_path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: make setup-train")
    pytest.importorskip("openvino", reason="OpenVINO is not installed: requirements/openvino.txt")
    weights = onnx.numpy_helper.from_array(np.ones((5, 3, 3, 3), np.float32), "w")
    matrix = onnx.numpy_helper.from_array(np.ones((8, 2), np.float32), "m")
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
            onnx.helper.make_node("Relu", ["c"], ["r"]),
            onnx.helper.make_node("MatMul", ["r", "m"], ["y"]),
        ],
        "small",
        [onnx.helper.make_tensor_value_info("x", 1, (1, 3, 6, 8))],
        [onnx.helper.make_tensor_value_info("y", 1, (1, 5, 6, 2))],
        [weights, matrix],
    )
    path = tmp_path / "small.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), path)
    found = graph_work(path)
    pixels = 6 * 8
    assert found.operations == 2 * pixels * 5 * 3 * 9 + pixels * 5 + 2 * (5 * 6 * 2) * 8
    assert found.least_bytes == 4 * (3 * pixels + 5 * 3 * 9 + 8 * 2 + 5 * 6 * 2)
    conv, relu, product = 3 * pixels + 135 + 5 * pixels, 10 * pixels, 5 * pixels + 16 + 60
    assert found.passed_bytes == 4 * (conv + relu + product)


@pytest.mark.slow
def test_no_stage_is_faster_than_the_machine_allows(tmp_path, capsys) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed: requirements/openvino.txt")
    pytest.importorskip("trimesh", reason="the generator of rooms is not installed: requirements/rooms.txt")
    report_file = tmp_path / "report.json"
    assert main(["bench", "roofline", "--frames", "6", "--json", str(report_file)]) == 0
    figures = json.loads(report_file.read_text())["figures"]
    assert set(figures["stages"]) == {"image", "slice", "expert", "memory", "splat"}
    # Caches hold some of what is counted as passing to memory, so that only arithmetic is a strict limit. The expert's
    # kernels need a quarter of the products of its 3x3 convolutions.
    expert, printed = figures["stages"]["expert"], capsys.readouterr().out
    assert 0 < figures["stages"]["image"]["share"]["value"] < 1.2
    assert 0 < expert["share"]["value"] < 4 * 1.2 and expert["limited_by"] == "arithmetic"
    above = any(stage["share"]["value"] > 1 for stage in figures["stages"].values())
    assert ("a share above 1" in printed) == above
    assert 4 < expert["operations"]["value"] < 12  # GFLOP of the small model
    assert "ceilings: " in printed
