"""Mapping with language features and asking the map; without them nothing is imported and nothing changes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from sgrocc_core.cli import main
from sgrocc_core.errors import ConfigError, DataError, ModelError, QueryError
from sgrocc_core.gaussians.memory import BLOCK_ROWS
from sgrocc_core.map_files.file import MapFolder, SavedMap
from sgrocc_core.map_files.format import load_map
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from sgrocc_core.open_vocabulary.export import export_language
from sgrocc_core.open_vocabulary.model import open_language
from tests.samples.engines import small_engine
from tests.samples.rooms import scene
from tests.samples.tiny_vlm import write_image_text_model


@pytest.fixture(scope="module")
def language(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("language")
    write_image_text_model(place / "hub", "siglip")
    export_language(str(place / "hub"), place / "out", [frame.image for frame in scene.walk(2)], 8)
    return place / "out"


@pytest.fixture(scope="module")
def engine():
    return small_engine()


def mapped(engine, language: str) -> OccupancyMapper:
    mapper = OccupancyMapper(engine, MapperConfig(language=language))
    for frame in scene.walk(2):
        mapper.step(frame)
    return mapper


@pytest.fixture(scope="module")
def walked(engine, language):
    """A mapper with language features after two frames. Tests must not change it."""
    return mapped(engine, str(language))


def test_features_change_nothing_else_in_the_map(engine, walked):
    plain = mapped(engine, "")
    with_it, without = walked.map.arrays(), plain.map.arrays()
    assert set(with_it) - set(without) == {"language", "language.model", "language.folder"}
    for name, array in without.items():
        assert array.tobytes() == with_it[name].tobytes(), name
    for ours, theirs in zip(walked.map.occupied(), plain.map.occupied()):
        np.testing.assert_array_equal(ours, theirs)
    share = np.linalg.norm(with_it["language"].astype(np.float32), axis=-1).max(-1) > 0.1
    assert share.any() and not share.all()
    assert walked.map.memory.nbytes > plain.map.memory.nbytes


def test_without_a_model_nothing_of_it_is_imported():
    code = (
        "import sys; from tests.samples.rooms import scene; from tests.samples.engines import small_engine; "
        "from sgrocc_core.mapping.mapper import OccupancyMapper; "
        "m = OccupancyMapper(small_engine()); m.step(scene.walk(1)[0]); "
        "m.find('sofa'); m.map.arrays(); "
        "assert not [n for n in sys.modules if 'open_vocabulary' in n or n in ('torch', 'transformers', 'tokenizers')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_saved_map_goes_on_with_its_features_and_only_with_their_model(engine, language, walked, tmp_path):
    saved = SavedMap.of(walked.map, "map", 2)
    MapFolder(tmp_path / "map").save(saved, picture=False)
    loaded = load_map(tmp_path / "map")
    again = OccupancyMapper(engine, MapperConfig(language=str(language)))
    again.map.restore(loaded.gaussians)
    assert again.map.arrays()["language"].tobytes() == walked.map.arrays()["language"].tobytes()
    other = dict(loaded.gaussians) | {"language.model": np.zeros(32, np.uint8)}
    with pytest.raises(DataError, match="are not of the image-text model in"):
        again.map.restore(other)
    OccupancyMapper(engine).map.restore(loaded.gaussians)
    with pytest.raises(ConfigError, match="a mapper keeps its own"):
        again.config = replace(again.config, language="")
    with pytest.raises(ModelError, match="has no language.yaml"):
        OccupancyMapper(engine, MapperConfig(language=str(tmp_path)))


def test_things_are_ranked_by_how_well_their_features_fit(engine, language):
    mapper = mapped(engine, str(language))
    vector, memory = open_language(str(language)).phrase("red bed"), mapper.map.memory
    assert memory.language is not None
    language_of = memory.language[: len(memory) * BLOCK_ROWS]  # the rest is room for more, and touching it takes memory
    language_of[:] = -vector.astype(np.float16)
    assert mapper.find("red bed") == []
    things = mapper.map.find("red bed")
    assert things == []
    language_of[:] = vector.astype(np.float16)
    found = mapper.find("red bed")
    assert found and all(thing.similarity == pytest.approx(1.0, abs=1e-3) for thing in found)
    chosen = found[-1]
    cells = np.unique(chosen.voxels // 2, axis=0)
    slots, local = memory.slots(cells // 8), cells % 8
    rows = slots * 512 + (local[:, 0] * 8 + local[:, 1]) * 8 + local[:, 2]
    turned = np.roll(np.eye(8, dtype=np.float32)[0], 1) * 3 + vector
    language_of[:] = turned.astype(np.float16)
    language_of[rows] = vector.astype(np.float16)
    best, *rest = mapper.find("red bed")
    np.testing.assert_allclose(best.centre, chosen.centre)
    assert all((thing.similarity or 0) < (best.similarity or 0) for thing in rest)


def test_the_command_asks_a_map_with_features_in_any_words(language, walked, tmp_path, capsys):
    folder = str(tmp_path / "map")
    MapFolder(folder).save(SavedMap.of(walked.map, "map", 2), picture=False)
    assert main(["find", folder, "a place to sit"]) in (0, 2)
    assert "'a place to sit' by language features" in capsys.readouterr().out
    assert main(["find", folder, "sofa", "--language", "none"]) in (0, 2)
    assert "'sofa' means sofa (by name)" in capsys.readouterr().out
    plain = SavedMap.of(walked.map, "map", 2)
    without = {name: array for name, array in plain.gaussians.items() if not name.startswith("language")}
    with pytest.raises(QueryError, match="this map has no language features"):
        replace(plain, gaussians=without).find("sofa", str(language))
    moved = dict(plain.gaussians) | {"language.folder": np.frombuffer(b"/nowhere", np.uint8)}
    with pytest.raises(QueryError, match="'/nowhere', which is not there; name its folder with --language"):
        replace(plain, gaussians=moved).find("sofa")
    named, known = replace(plain, gaussians=moved).find("sofa", str(language)), plain.find("sofa")
    assert [thing.similarity for thing in named] == [thing.similarity for thing in known]
