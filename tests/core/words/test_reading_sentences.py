"""Sentences about rooms: what is read from them, and what is said of those that cannot be read."""

from __future__ import annotations

import pytest

from sgrocc_core.data.synthetic.words.reader import read_wish
from sgrocc_core.data.synthetic.words.wish import SELF
from sgrocc_core.errors import ConfigError
from sgrocc_core.words.encoder import INSTALL, encoder_if_installed, installed_folder

installed = pytest.mark.skipif(installed_folder() is None, reason=f"no sentence encoder: {INSTALL}")


def read(text):
    return read_wish(text, None)


def things(text):
    return [(a.kind, a.count) for a in read(text).things]


def relation(text, kind):
    """Relation of the thing of a kind, and the kind to which it relates."""
    wish = read(text)
    asked = next(a for a in wish.things if a.kind == kind)
    return asked.relation, wish.things[asked.target].kind if asked.target >= 0 else asked.target


def test_room_size_kinds_and_numbers_are_read():
    wish = read("a small bedroom with a double bed, two chairs and a tv on the wall")
    assert (wish.room, wish.size, wish.missed) == ("bedroom", "small", ())
    assert [(a.kind, a.count) for a in wish.things] == [("double bed", 1), ("chair", 2), ("tv", 1)]


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("a tv on the wall", "tv", ("on wall", -1)),
        ("a bed against the wall", "bed", ("wall", -1)),
        ("a plant in the corner", "plant", ("corner", -1)),
        ("a vase on the table", "vase", ("on", "table")),
        ("a sofa facing a tv", "sofa", ("facing", "tv")),
        ("two sofas facing each other", "sofa", ("facing", SELF)),
        ("a chair beside the bed", "chair", ("beside", "bed")),
        ("a bed by the window", "bed", ("beside", "window")),
        ("a table with four chairs", "chair", ("at", "table")),
        ("a desk with a monitor", "monitor", ("on", "desk")),
        ("a table and eight chairs around it", "chair", ("at", "table")),
        ("a bed, a nightstand next to the bed and a lamp on it", "lamp", ("on", "bedside cabinet")),
        ("On the desk is a lamp", "lamp", ("on", "desk")),
        ("On the wall hangs a clock", "clock", ("on wall", -1)),
        ("a coffee table. On the table is a vase", "vase", ("on", "coffee table")),
        ("a picture above the sofa", "picture", ("above", "sofa")),
        ("a rug under the table", "rug", ("under", "table")),
    ],
)
def test_a_relation_is_read(text, kind, found):
    assert relation(text, kind) == found


@pytest.mark.parametrize(
    ("text", "size", "look"),
    [("a red sofa", "", "red"), ("a large wooden table", "large", "wooden"), ("a small grey desk", "small", "grey")],
)
def test_sizes_and_looks_are_read(text, size, look):
    asked = read(text).things[0]
    assert (asked.size, asked.look) == (size, look)


def test_walls_and_floors_have_looks():
    wish = read("a lounge with blue walls and a wooden floor")
    assert (wish.walls, wish.floor, wish.things) == ("blue", "wooden", ())


def test_what_must_not_be_there_is_read():
    assert read("a kitchen without a table or chairs").without == ("table", "chair")
    assert read("a kitchen with no tv, a fridge").without == ("tv",)
    assert read("an empty room with a chair").only


def test_a_word_counts_plurals_digits_and_vague_numbers():
    assert things("3 stools, some shelves and dressers") == [("stool", 3), ("shelf", 2), ("chest of drawers", 2)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "prompt is empty"),
        ("   ", "prompt is empty"),
        ("a chair " * 200, "prompt has 1600 characters; it may have at most 1000"),
        ("a bedroom without a bed with a bed", "asks for a bed and for none; leave one out"),
        ("a room without beds, with a double bed", "asks for a double bed and for none"),
        ("a small large table", "both small and large"),
        ("100 chairs", "asks for 100 of 'chair'; at most 12"),
        ("une petite chambre avec un lit double et deux chaises", "only 0 of its 10 words are known English ones"),
        ("寝室にベッドが二つ", "known English ones"),
        ("there is the", "nothing in it is known"),
    ],
)
def test_a_sentence_that_cannot_be_read_is_an_error(text, said):
    with pytest.raises(ConfigError, match=said):
        read(text)


def test_without_the_encoder_an_unknown_word_is_said():
    wish = read("a bedroom with a futon and a chair")
    assert things("a bedroom with a futon and a chair") == [("chair", 1)]
    assert wish.missed == (f"'futon' is not known; the sentence encoder could match it: {INSTALL}",)


@installed
def test_the_encoder_matches_an_unknown_word_and_says_so():
    wish = read_wish("a bedroom with a futon and a qwxzk", encoder_if_installed())
    assert [a.kind for a in wish.things] == ["bed"]
    assert wish.understood == ("'futon' was taken for 'cot'",)
    assert wish.missed == ("'qwxzk' is not known and near to no known word",)
