"""Model folders that are damaged or made to harm: each is refused with a sentence, before anything runs."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import yaml

from sgrocc_core.engines.open import open_engine
from sgrocc_core.errors import SgroccError

SMALL = Path(__file__).resolve().parents[3] / "models" / "small"
FILES = ("image.onnx", "expert.onnx", "stereo.onnx", "cascade.onnx", "weights.safetensors")

pytestmark = pytest.mark.skipif(not (SMALL / "image.onnx").exists(), reason="models/small is not complete")


@pytest.fixture
def folder(tmp_path):
    """A copy of the small model, its files as links."""
    for name in FILES:
        (tmp_path / name).symlink_to(SMALL / name)
    shutil.copy(SMALL / "model.yaml", tmp_path)
    return tmp_path


def change(folder: Path, **values: object) -> None:
    """Change keys of the description."""
    file = folder / "model.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | values))


def refused(folder: Path, words: str) -> None:
    """Assert that the model is refused with a message that contains the words."""
    with pytest.raises(SgroccError) as error:
        open_engine(folder, "onnxruntime", "cpu", 1)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"gaussians_per_cell": 5}, "expert.onnx has the output 'means' of [1, 16200, 4, 3]; by model.yaml it is"),
        ({"gaussians_per_cell": 0}, "gaussians_per_cell is 0; it must be a whole number from 1 to 64"),
        ({"gaussians_per_cell": 10**9}, "gaussians_per_cell is 1000000000"),
        ({"gaussians_per_cell": "4"}, "gaussians_per_cell is '4'"),
        ({"feature_channels": 31}, "expert.onnx has the input 'history' of [1, 16200, 32]"),
        ({"image_size": [640, 480]}, "image.onnx has the input 'image' of [1, 3, 240, 320]"),
        ({"image_size": [10**6, 10**6]}, "image_size is [1000000, 1000000]"),
        ({"image_size": [float("inf"), 240]}, "model.yaml"),
        ({"image_size": [320, 240, 3]}, "it must be width and height"),
        ({"canonical_focal": float("nan")}, "canonical_focal is nan"),
        ({"feature_stride": "8"}, "feature_stride is '8'"),
        ({"name": ["a"]}, "name is"),
        ({"networks": "x"}, "networks is 'x'"),
        ({"files": {"../../etc/passwd": "0"}}, "it must be the name of a file in the model's folder"),
        ({"files": {"/dev/zero": "0"}}, "it must be the name of a file in the model's folder"),
        ({"files": {"a\0b": "0"}}, "it must be the name of a file in the model's folder"),
        ({"files": {5: "0"}}, "it must be the name of a file in the model's folder"),
    ],
)
def test_a_description_that_cannot_be_is_refused(folder, values, words):
    change(folder, **values)
    refused(folder, words)


@pytest.mark.parametrize(
    "stereo,words",
    [
        ([1], "networks.stereo is [1]; it must be a mapping"),
        ({"planes": "many"}, "networks.stereo.planes is 'many'; it must be a whole number from 8 to 256"),
        ({"cascade": -3}, "networks.stereo.cascade is -3; it must be a whole number"),
        ({"cascade": 10**9}, "networks.stereo.cascade is 1000000000; it must be a whole number"),
    ],
)
def test_sizes_of_stereo_that_cannot_be_are_refused(folder, stereo, words):
    description = yaml.safe_load((folder / "model.yaml").read_text())
    change(folder, networks={**description["networks"], "stereo": stereo})
    refused(folder, words)


def test_swapped_graphs_are_refused(folder):
    for name, other in (("image.onnx", "expert.onnx"), ("expert.onnx", "image.onnx")):
        (folder / name).unlink()
        (folder / name).symlink_to(SMALL / other)
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    change(folder, files=digests)
    refused(folder, "image.onnx has no input 'image'")


def test_aliases_of_aliases_are_refused_before_they_are_followed(folder):
    lines = ["classes:", "- &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"- &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 10)}]" for i in range(8)]
    (folder / "model.yaml").write_text("\n".join(lines))
    refused(folder, "aliases (*name) are not allowed")


@pytest.mark.parametrize("text", ["[" * 20000, "\x00\x01", "x: " + "y" * 5_000_000], ids=["deep", "binary", "large"])
def test_other_texts_that_are_no_description_are_refused(folder, text):
    (folder / "model.yaml").write_text(text)
    refused(folder, "cannot read")
