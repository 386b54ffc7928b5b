"""`engine: auto`: what is installed and wrong is found before it maps, and something that works is always taken."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import yaml

from sgrocc_core.cli import build_parser, find_commands
from sgrocc_core.engines import trial
from sgrocc_core.engines.cache import read_kept, write_kept
from sgrocc_core.engines.choice import candidates
from sgrocc_core.engines.model import load_spec
from sgrocc_core.engines.open import ENGINES, open_engine
from sgrocc_core.errors import ModelError

pytest.importorskip("openvino", reason="OpenVINO is not installed: requirements/openvino.txt")
onnx = pytest.importorskip("onnx")

SMALL = Path(__file__).resolve().parents[3] / "models" / "small"
HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
without_cuda = pytest.mark.skipif(HAS_CUDA, reason="ONNX Runtime has CUDA here")


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sgrocc"


def changed_model(folder: Path, **contents: bytes) -> Path:
    """A copy of the small model with other files, whose hashes are right."""
    shutil.copytree(SMALL, folder)
    description = yaml.safe_load((folder / "model.yaml").read_text())
    for name, content in contents.items():
        file = name.replace("_", ".")
        (folder / file).write_bytes(content)
        description["files"][file] = hashlib.sha256(content).hexdigest()
    (folder / "model.yaml").write_text(yaml.safe_dump(description))
    return folder


def heavier(folder: Path) -> Path:
    """The small model with every weight 2 % larger."""
    data = (SMALL / "weights.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    return changed_model(
        folder, weights_safetensors=data[:start] + (np.frombuffer(data[start:], "<f4") * 1.02).tobytes()
    )


def opened(model: Path | str = "small", **options) -> tuple[str, list[str], bool]:
    """Description, notices, and whether a kept graph was loaded."""
    said: list[str] = []
    engine = open_engine(model, notice=said.append, threads=1, **options)
    return engine.description, said, getattr(engine, "from_cache", False)


def put_package(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))


@without_cuda
def test_openvino_is_taken_where_it_is_installed_and_the_next_start_compiles_nothing() -> None:
    description, said, from_cache = opened()
    assert description.startswith("OpenVINO ") and description.endswith("CPU, 1 threads, fp32, expert in kernels")
    assert said == [] and not from_cache
    assert opened()[1:] == ([], True)


@without_cuda
def test_a_tensorrt_that_cannot_be_imported_costs_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_package(tmp_path / "here", "tensorrt", "raise OSError('libnvinfer.so.10: cannot open')", monkeypatch)
    description, said, _ = opened()
    assert description.startswith("OpenVINO ")
    (line,) = said
    assert line.startswith("engine auto: tensorrt is not used: ") and "libnvinfer.so.10: cannot open" in line


@without_cuda
def test_an_openvino_that_cannot_be_imported_leaves_onnxruntime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    put_package(tmp_path / "here", "openvino", "raise RuntimeError('no such instruction')", monkeypatch)
    description, said, _ = opened()
    assert description.startswith("ONNX Runtime ")
    assert len(said) == 1 and "openvino is not used" in said[0] and "no such instruction" in said[0]


@without_cuda
def test_a_graph_that_openvino_refuses_is_run_by_onnxruntime(tmp_path: Path) -> None:
    """Thickness times the determinant of a rotation, 1, for which OpenVINO has no rule."""
    model = onnx.load(str(SMALL / "image.onnx"), load_external_data=False)
    for node in model.graph.node:
        node.output[:] = ["before" if name == "thickness" else name for name in node.output]
    model.graph.node.append(onnx.helper.make_node("Det", ["gravity"], ["one"]))
    model.graph.node.append(onnx.helper.make_node("Mul", ["before", "one"], ["thickness"]))
    description, said, _ = opened(changed_model(tmp_path / "model", image_onnx=model.SerializeToString()))
    assert description.startswith("ONNX Runtime ")
    assert len(said) == 1 and "openvino is not used" in said[0] and "Det" in said[0] and "\n" not in said[0]


def blobs(kept: Path) -> dict[str, Path]:
    return {path.name.partition("-")[0]: path for path in (kept / "openvino").glob("*.blob")}


@without_cuda
def test_a_truncated_compiled_graph_is_compiled_again(kept: Path) -> None:
    opened()
    for path in blobs(kept).values():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    description, said, from_cache = opened()
    assert description.startswith("OpenVINO ") and said == [] and not from_cache
    assert opened()[1:] == ([], True)


@pytest.mark.slow
@without_cuda
def test_a_kept_file_that_openvino_cannot_read_is_compiled_again(kept: Path) -> None:
    opened()
    for path in blobs(kept).values():
        write_kept(path, b"\0" * 1000)
    description, said, from_cache = opened()
    assert description.startswith("OpenVINO ") and said == [] and not from_cache


@pytest.mark.slow
@without_cuda
def test_a_compiled_graph_of_other_weights_is_found_by_its_values_and_compiled_again(
    tmp_path: Path, kept: Path
) -> None:
    opened()
    own = blobs(kept)
    opened(heavier(tmp_path / "model"))
    others = {name: path for name, path in blobs_of(kept).items() if name not in {p.name for p in own.values()}}
    (other,) = [path for name, path in others.items() if name.startswith("image")]
    right, wrong = read_kept(own["image"]), read_kept(other)
    assert right is not None and wrong is not None
    write_kept(own["image"], wrong)
    description, said, from_cache = opened()
    assert description.startswith("OpenVINO ") and said == [] and not from_cache
    assert read_kept(own["image"]) != wrong
    assert opened()[1:] == ([], True)


def blobs_of(kept: Path) -> dict[str, Path]:
    return {path.name: path for path in (kept / "openvino").glob("*.blob")}


def test_other_weights_disagree_and_the_same_agree(tmp_path: Path) -> None:
    expected = trial.reference(load_spec("small"), 1)
    same = trial.run_trial(open_engine("small", "openvino", threads=1), expected)
    assert trial.disagreements(same, expected, "fp32") == {}
    other = trial.run_trial(open_engine(heavier(tmp_path / "model"), "onnxruntime", "cpu", 1), expected)
    said = trial.disagreements(other, expected, "fp32")
    assert {"image.onnx:depth", "expert.onnx:logits"} <= set(said)
    assert said["image.onnx:depth"].startswith("image.onnx:depth differs from ONNX Runtime's by up to ")


def test_a_sample_in_the_neighbouring_pixel_is_allowed_and_more_is_not() -> None:
    expected = {"a": np.linspace(-2, 2, 10_000)}
    few, many = expected["a"].copy(), expected["a"].copy()
    few[:10], many[:11] = 0, 0
    assert trial.disagreements({"a": few}, expected, "fp32") == {}
    assert "in 0.1% of its values" in trial.disagreements({"a": many}, expected, "fp32")["a"]
    slightly = expected["a"] * (1 + 9e-4)
    assert trial.disagreements({"a": slightly}, expected, "fp32") == {}
    assert trial.disagreements({"a": expected["a"] * 1.01}, expected, "fp32") != {}
    assert trial.disagreements({"a": expected["a"] * 1.01}, expected, "bf16") == {}


@pytest.mark.parametrize("expected", [None, {"a": np.ones(3)}])
def test_values_that_are_not_finite_are_never_allowed(expected) -> None:
    found = {"a": np.array([1, np.nan, 1])}
    assert trial.disagreements(found, expected, "bf16") == {"a": "a has values that are not finite"}


@without_cuda
def test_without_onnxruntime_openvino_is_taken_uncompared(tmp_path: Path) -> None:
    (tmp_path / "here" / "onnxruntime").mkdir(parents=True)
    (tmp_path / "here" / "onnxruntime" / "__init__.py").write_text("raise ImportError('libonnxruntime.so is damaged')")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'here')!r})\n"
        "from sgrocc_core.engines.open import open_engine\n"
        "print(open_engine('small', threads=1).description)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.startswith("OpenVINO ")
    assert "openvino is not compared with ONNX Runtime" in done.stderr and "is damaged" in done.stderr


@without_cuda
def test_cuda_never_turns_into_the_cpu_in_silence() -> None:
    with pytest.raises(ModelError) as error:
        open_engine("small", device="cuda")
    assert "no engine runs the model small with device cuda and precision fp32: onnxruntime: " in str(error.value)
    with pytest.raises(ModelError, match="device cuda: the openvino engine runs on CPUs"):
        open_engine("small", "openvino", "cuda")
    assert all(where == "cuda" for _, where in candidates("cuda", "fp32"))


@without_cuda
def test_a_precision_that_nothing_has_here_is_refused_and_says_what_it_needs() -> None:
    with pytest.raises(ModelError, match="fp16"):
        open_engine("small", precision="fp16")


def test_bf16_is_close_to_fp32_or_refused() -> None:
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(ModelError, match=r"precision bf16: OpenVINO has FP32, .* on this CPU; use precision fp32"):
            open_engine("small", "openvino", "cpu", precision="bf16")
        return
    engine = open_engine("small", "openvino", "cpu", precision="bf16")
    expected = trial.reference(load_spec("small"))
    assert trial.disagreements(trial.run_trial(engine, expected), expected, "bf16") == {}


def test_tensorrt_for_rtx_without_its_package_or_without_a_gpu_says_so() -> None:
    if HAS_CUDA:
        pytest.skip("ONNX Runtime has CUDA here")
    with pytest.raises(ModelError, match=r"the tensorrt_rtx engine (needs the Python package|finds no )"):
        open_engine("small", "tensorrt_rtx")


def test_the_command_line_offers_every_engine() -> None:
    for name in ENGINES:
        arguments = build_parser(find_commands()).parse_args(["map", "--bag", "x", "--out", "y", "--engine", name])
        assert arguments.engine == name


def test_no_runtime_gives_the_machine_an_identifier(tmp_path: Path) -> None:
    program = "from sgrocc_core.engines.open import open_engine\nopen_engine('small', 'onnxruntime', 'cpu', 1)"
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", program], env=environment, timeout=120, check=True)
    assert [
        path for path in tmp_path.rglob("*") if "onnxruntime" in path.name.lower() or "Microsoft" in path.name
    ] == []


STARTER = "from sgrocc_core.engines.open import open_engine\nprint(open_engine('small', threads=1).description)"


@pytest.mark.slow
@without_cuda
def test_two_starts_at_once_leave_whole_files(kept: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    for process in processes:
        said = process.communicate(timeout=120)[0]
        assert said.startswith("OpenVINO ") and said.count("\n") == 1, said
    paths = [path for path in kept.rglob("*") if path.is_file() and path.name[0] != "."]
    names = [path.name.partition("-")[0] for path in paths]
    assert len(names) == len(set(names))  # each once; the expert in kernels has no file
    assert {name.partition(".")[0] for name in names} == {"image", "reference", "stereo", "cascade"}
    assert all(read_kept(path) is not None for path in paths)
