"""An exported image-text model: true architectures at a small random size, the projection, and errors that help."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from sgrocc_core.cli import main
from sgrocc_core.errors import ModelError, QueryError
from sgrocc_core.open_vocabulary.export import export_language, vocabulary
from sgrocc_core.open_vocabulary.model import DESCRIPTION, LanguageModel
from sgrocc_core.open_vocabulary.projection import fit, unit
from sgrocc_core.open_vocabulary.towers import Patches, Phrase, load_model
from tests.samples.tiny_vlm import EYES, siglip, write_image_text_model, write_model

KINDS = ("siglip", "clip")


def pictures(count: int = 6) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 255, (40, 60, 3), dtype=np.uint8) for _ in range(count)]


@pytest.fixture(scope="module", params=KINDS)
def exported(request, tmp_path_factory):
    place = tmp_path_factory.mktemp(request.param)
    model = write_image_text_model(place / "hub", request.param)
    export_language(str(place / "hub"), place / "out", pictures(), 8)
    return request.param, model.eval(), place


def test_a_phrase_has_the_embedding_that_the_published_model_gives_it(exported):
    _, model, place = exported
    ids = torch.tensor([[1, 4, 5, 6, 7, 2, 0, 0, 0, 0, 0, 0]])
    with torch.inference_mode():
        expected = model.get_text_features(input_ids=ids).pooler_output
        found = Phrase(*load_model(str(place / "hub"))[:2])(ids)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)


def test_of_an_image_of_one_patch_the_local_embedding_is_the_whole_ones():
    """SigLIP's head attends to all patches; with a single one, local and global are the same by definition."""
    import transformers

    torch.manual_seed(0)
    vision = {**EYES, "image_size": EYES["patch_size"]}
    config = transformers.SiglipConfig(text_config=siglip().config.text_config.to_dict(), vision_config=vision)
    model = transformers.SiglipModel(config).eval()
    torch.nn.init.normal_(model.vision_model.head.attention.in_proj_bias)
    image = torch.rand(1, 3, 8, 8) * 255
    with torch.inference_mode():
        whole = model.get_image_features(pixel_values=(image / 255 - 0.5) / 0.5).pooler_output
        local = Patches("siglip", model, (0.5,) * 3, (0.5,) * 3)(image)
    assert local.shape == (1, 1, 1, 16)
    np.testing.assert_allclose(local[0, 0].numpy(), whole.numpy(), atol=1e-5)


def test_the_exported_graphs_give_compressed_embeddings_without_torch(exported):
    place = exported[2]
    image = pictures(1)[0]
    code = (
        "import sys, numpy as np; from sgrocc_core.open_vocabulary.model import open_language; "
        f"m = open_language({str(place / 'out')!r}, 1); a = m.look(np.load({str(place / 'image.npy')!r})); "
        f"np.savez({str(place / 'found.npz')!r}, look=a, red=m.phrase('Red  sofa'), sofa=m.phrase('sofa')); "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    np.save(place / "image.npy", image)
    subprocess.run([sys.executable, "-c", code], check=True)
    found = np.load(place / "found.npz")
    assert found["look"].shape == (4, 4, 8) and "sofa" in vocabulary()
    for name in ("look", "red", "sofa"):
        np.testing.assert_allclose(np.linalg.norm(found[name], axis=-1), 1, atol=1e-5)
    assert float(found["red"] @ found["sofa"]) < 0.999


def test_the_projection_keeps_the_directions_in_which_texts_and_images_differ():
    rng = np.random.default_rng(0)
    base, spread = unit(rng.normal(size=20)) * 4, np.zeros(20)
    spread[[2, 5, 7, 11]] = 1.0
    texts, patches = (base + rng.normal(size=(n, 20)) * spread * 0.1 for n in (60, 300))
    made = fit(texts, patches - 2 * base, 4)
    np.testing.assert_allclose(made.axes.T @ made.axes, np.eye(4), atol=1e-5)
    # The common part of each kind is gone, and only what differs is left.
    assert (made.axes[[2, 5, 7, 11]] ** 2).sum() > 0.9 * 4 and min(made.kept) > 0.9
    np.testing.assert_allclose(np.linalg.norm(made.texts(texts), axis=1), 1, atol=1e-5)
    assert np.abs(made.texts(texts).mean(0)).max() < 0.2 and np.abs(made.images(patches - 2 * base).mean(0)).max() < 0.2


@pytest.mark.parametrize("numbers", [3, 17, 65])
def test_a_number_of_numbers_that_does_not_fit_is_refused(numbers):
    with pytest.raises(ModelError, match="it must have 4 to 16"):
        fit(np.eye(20)[:, :16] + 1, np.ones((5, 16)), numbers)


def test_a_damaged_or_foreign_folder_is_refused(exported, tmp_path):
    place = exported[2]
    with pytest.raises(ModelError, match="has no language.yaml; see sgrocc export-language"):
        LanguageModel(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(place / "out", copy)
    (copy / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="tokenizer.json is damaged"):
        LanguageModel(copy)
    (copy / "image_tower.onnx").unlink()
    with pytest.raises(ModelError, match="lacks image_tower.onnx"):
        LanguageModel(copy)
    (copy / DESCRIPTION).write_text("format_version: 9\n")
    with pytest.raises(ModelError, match="is of format version 9"):
        LanguageModel(copy)


def test_a_phrase_must_say_something_and_one_beyond_the_vocabulary_needs_tokenizers(exported, monkeypatch):
    model = LanguageModel(exported[2] / "out")
    for phrase in (" ", "x" * 301):
        with pytest.raises(QueryError, match="it must have 1 to 300"):
            model.phrase(phrase)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert model.phrase("sofa").shape == (8,)
    with pytest.raises(ModelError, match="pip install tokenizers"):
        model.phrase("a pink elephant")


def test_the_command_says_what_is_wrong_with_a_model(tmp_path, capsys):
    write_model(tmp_path / "qwen", "qwen2_5_vl")
    assert main(["export-language", "--model", str(tmp_path / "qwen"), "--out", str(tmp_path / "out")]) == 1
    assert "must be one of siglip, clip" in capsys.readouterr().err
    write_model(tmp_path / "siglip", "siglip")
    assert main(["export-language", "--model", str(tmp_path / "siglip"), "--out", str(tmp_path / "out")]) == 1
    assert "has no tokenizer.json" in capsys.readouterr().err


def test_what_the_features_cost_is_measured_beside_the_mapper_without_them(exported, tmp_path, capsys):
    report = tmp_path / "cost.json"
    arguments = [
        "--language",
        str(exported[2] / "out"),
        "--frames",
        "5",
        "--engine",
        "onnxruntime",
        "--json",
        str(report),
    ]
    assert main(["bench", "step", *arguments]) == 0
    assert "KiB a block instead of" in capsys.readouterr().out
    told = json.loads(report.read_text())
    figures = {name: figure["value"] for name, figure in told["figures"].items()}
    # 512 cells of 4 Gaussians, 8 numbers of two bytes each.
    assert figures["language.block"] - figures["block"] == pytest.approx(512 * 4 * 8 * 2 / 1024, abs=0.2)
    assert figures["language_times"] > 0 and "language.whole_step" in told["stages"]


@pytest.mark.slow
def test_the_command_exports_with_generated_rooms(exported, tmp_path, capsys):
    arguments = ["--model", str(exported[2] / "hub"), "--out", str(tmp_path / "out"), "--numbers", "8"]
    assert main(["export-language", *arguments]) == 0
    assert "8 numbers keep" in capsys.readouterr().out
    assert LanguageModel(tmp_path / "out").spec.numbers == 8
