"""Things of a map ranked by how well their language features fit a phrase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from sgrocc_core.errors import DataError, QueryError
from sgrocc_core.open_vocabulary.features import FOLDER, MODEL, MapFeatures
from sgrocc_core.open_vocabulary.model import DESCRIPTION, LanguageModel, open_language
from sgrocc_core.voxels.objects import FoundObject, find_objects, objects_of

CLASSES_ONLY = "none"
"""In the place of a model's folder: ask by classes, though the map has language features."""


def similarity(features: np.ndarray, vector: np.ndarray) -> float | None:
    """Cosine of the mean of features (N, D) and a vector (D,); None if all features are zero."""
    mean = features.astype(np.float64).mean(0)
    length = float(np.linalg.norm(mean))
    return None if length < 1e-6 else float(mean @ vector / (length * max(float(np.linalg.norm(vector)), 1e-12)))


def find_by_language(
    phrase: str,
    model: LanguageModel,
    features: MapFeatures,
    occupied: tuple[np.ndarray, np.ndarray, np.ndarray],
    free: np.ndarray,
    origin: np.ndarray | None = None,
) -> list[FoundObject]:
    """The things of every class whose features lean towards a phrase (a cosine above 0), the nearest first.

    Args:
        phrase: any English.
        model: the model that the features are of.
        features: of the map.
        occupied: voxels (N, 3), labels (N,) and probabilities (N,).
        free: (M, 3) int, voxels observed free.
        origin: (3,) of the lattice, metres; zero if None.

    Raises:
        QueryError: the phrase is empty or too long.
        ModelError: the phrase is not in the vocabulary, and `tokenizers` is not installed.
    """
    vector = model.phrase(phrase)
    found = []
    for thing in objects_of(*occupied, free, None, origin):
        value = similarity(features.of_voxels(thing.voxels), vector)
        if value is not None and value > 0:
            found.append(replace(thing, similarity=round(value, 6)))
    return sorted(found, key=lambda thing: -(thing.similarity or 0.0))


def find_saved(
    phrase: str,
    arrays: Mapping[str, np.ndarray],
    occupied: tuple[np.ndarray, np.ndarray, np.ndarray],
    free: np.ndarray,
    language: str = "",
) -> list[FoundObject]:
    """The things of a saved map that a phrase means: by its language features where it has them, else by classes.

    Args:
        phrase: any English; without features a class, a synonym or what the thing is for.
        arrays: the map's Gaussians.
        occupied: voxels (N, 3), labels (N,) and probabilities (N,).
        free: (M, 3) int, voxels observed free.
        language: folder of the model; empty: the one that the map was made with; CLASSES_ONLY: ask by classes.

    Raises:
        QueryError: the phrase means nothing, or the map has no features and a folder is given.
        ModelError: the model cannot be used.
        DataError: the features are damaged, or of another model.
    """
    features = None if language == CLASSES_ONLY else MapFeatures.saved(arrays)
    if features is None:
        if language not in ("", CLASSES_ONLY):
            raise QueryError("this map has no language features; make it with `sgrocc map --language DIR`")
        return find_objects(phrase, occupied, free)
    folder = language or bytes(arrays.get(FOLDER, np.zeros(0, np.uint8))).decode(errors="replace")
    if not language and not (Path(folder) / DESCRIPTION).is_file():
        raise QueryError(
            f"this map was made with the image-text model in {folder!r}, which is not there; name its folder with "
            f"--language DIR, or ask by classes with --language {CLASSES_ONLY}"
        )
    model = open_language(folder)
    check_same(arrays, model)
    return find_by_language(phrase, model, features, occupied, free)


def check_same(arrays: Mapping[str, np.ndarray], model: LanguageModel) -> None:
    """Check that a map's language features are those of a model.

    Raises:
        DataError: they are of another one.
    """
    if not np.array_equal(arrays.get(MODEL, np.zeros(0, np.uint8)), model.spec.digest):
        raise DataError(
            f"the map's language features are not of the image-text model in {model.folder} ({model.spec.name}), or of "
            "another export of it; features of two exports cannot be compared"
        )


def signature(model: LanguageModel) -> dict[str, np.ndarray]:
    """Arrays that say in a saved map which model its features are of."""
    return {MODEL: model.spec.digest, FOLDER: np.frombuffer(str(model.folder.resolve()).encode(), np.uint8).copy()}
