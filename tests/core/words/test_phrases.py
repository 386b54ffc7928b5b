"""Phrases mean classes: by name, by synonym, by the sentence encoder; and what means nothing is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from sgrocc_core.errors import QueryError
from sgrocc_core.words.encoder import INSTALL, encoder_if_installed, installed_folder
from sgrocc_core.words.phrases import meaning_of
from sgrocc_core.yaml_file import read_mapping

PHRASES = read_mapping(Path(__file__).resolve().parents[3] / "config/eval/phrases.yaml", "phrases")["phrases"]
installed = pytest.mark.skipif(installed_folder() is None, reason=f"no sentence encoder: {INSTALL}")


def share_right(encoder):
    """Share of the committed phrases whose first class is meant, and no class that they cannot mean."""
    right = 0
    for row in PHRASES:
        try:
            found = meaning_of(row["text"], encoder).classes
        except QueryError:
            continue
        right += row["classes"][0] in found and set(found) <= set(row["classes"])
    return right / len(PHRASES)


def test_forty_phrases_are_committed():
    assert len({row["text"] for row in PHRASES}) == 40


def test_synonyms_alone_are_right_in_sixty_of_a_hundred():
    assert share_right(None) >= 0.6


@installed
def test_the_encoder_is_right_in_ninety_of_a_hundred():
    assert share_right(encoder_if_installed()) >= 0.9


@pytest.mark.parametrize(
    ("phrase", "classes", "how"),
    [
        ("sofa", ("sofa",), "name"),
        ("  TVs ", ("tvs",), "name"),
        ("couches", ("sofa",), "synonym"),
        ("somewhere to sit", ("chair", "sofa"), "synonym"),
        ("shelves", ("furniture",), "synonym"),
    ],
)
def test_names_and_synonyms_need_no_encoder(phrase, classes, how):
    meaning = meaning_of(phrase, None)
    assert (meaning.classes, meaning.how) == (classes, how)


@pytest.mark.parametrize(
    ("phrase", "said"),
    [("", "empty"), ("a" * 301, "at most 300"), ("take a nap", "no class and no synonym of one.*make setup-words")],
)
def test_a_phrase_without_meaning_is_an_error(phrase, said):
    with pytest.raises(QueryError, match=said):
        meaning_of(phrase, None)


@installed
def test_a_phrase_far_from_every_class_is_an_error():
    with pytest.raises(QueryError, match="near to none of the classes"):
        meaning_of("quarterly tax declaration", encoder_if_installed())
