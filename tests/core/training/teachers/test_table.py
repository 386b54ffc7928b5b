"""The table of class names, and the Boolean merge of teachers."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from sgrocc_core.classes import NAMES, UNKNOWN, label_of
from sgrocc_core.errors import DataError
from sgrocc_core.training.teachers.opinion import Opinion, merge, opinion_of
from sgrocc_core.training.teachers.table import ALIGNED, LEFT_OUT, align_names, names_in
from tests.samples.class_names import ADE20K, COCO_PANOPTIC, COCO_STUFF

SETS = {"ade20k": (ADE20K, 150), "coco_panoptic": (COCO_PANOPTIC, 133), "coco_stuff": (COCO_STUFF, 171)}


@pytest.mark.parametrize("name", SETS)
def test_the_table_has_every_name_of_a_set_and_tells_all_eleven_classes_with_it(name: str) -> None:
    names, count = SETS[name]
    assert len(names) == count
    alignment = align_names(dict(enumerate(names)), name)
    assert alignment.unknown == () and alignment.covered == NAMES[1:]


def test_no_name_stands_in_two_rows() -> None:
    rows = {**ALIGNED, "": LEFT_OUT}
    where = {(name, row) for row, text in rows.items() for name in names_in(text)}
    assert len({name for name, _ in where}) == len(where)
    assert set(ALIGNED) == set(NAMES[1:])


def test_every_name_of_the_table_is_in_one_of_the_sets_or_a_synonym_of_ade20k() -> None:
    synonyms = {"television", "fridge", "pool", "falls", "street lamp", "trash can", "railing-other", "mat"}
    known = {*ADE20K, *COCO_PANOPTIC, *COCO_STUFF, *synonyms}
    assert {name for text in (*ALIGNED.values(), LEFT_OUT) for name in names_in(text)} <= known


@pytest.mark.parametrize(
    ("name", "label"), [("door; double door", "furniture"), ("Screen, crt screen", "tvs"), ("bed ", "bed")]
)
def test_a_name_with_synonyms_means_the_first_that_the_table_has(name: str, label: str) -> None:
    assert align_names({0: name}, "net").labels.tolist() == [label_of(label)]


def test_a_network_whose_classes_map_to_nothing_is_refused_with_its_names() -> None:
    with pytest.raises(
        DataError, match=r"the teacher roads tells none of our classes: of its 2 \(road, LABEL_1, \.\.\.\)"
    ):
        align_names({0: "road", 1: "LABEL_1"}, "roads")


def test_classes_of_one_label_add_up_and_a_stranger_has_no_label() -> None:
    wall, floor = label_of("wall"), label_of("floor")
    scores = np.array([[0.3, 0.1], [0.3, 0.1], [0.4, 0.1], [0.0, 0.7]])[:, None]  # wall, wall, floor, none of ours
    opinion = opinion_of(scores, np.array([wall, wall, floor, UNKNOWN], np.uint8))
    assert opinion.labels.tolist() == [[wall, UNKNOWN]]
    assert opinion.confidence.tolist() == [[pytest.approx(0.6), 0.0]]


def test_the_merge_keeps_what_one_is_sure_of_and_nobody_contradicts() -> None:
    #                  agree, only the first is sure, they dispute, nobody is sure, the third disputes
    first = Opinion(np.array([[3, 3, 3, 3, 2]], np.uint8), np.array([[0.7, 0.9, 0.9, 0.3, 0.9]], np.float32))
    second = Opinion(np.array([[3, 5, 5, 3, 2]], np.uint8), np.array([[0.8, 0.2, 0.9, 0.4, 0.8]], np.float32))
    third = Opinion(np.array([[255, 255, 3, 255, 7]], np.uint8), np.array([[0, 0, 0.9, 0, 0.7]], np.float32))
    merged = merge([first, second, third])
    assert merged.labels.tolist() == [[3, 3, UNKNOWN, UNKNOWN, UNKNOWN]]
    assert merged.confidence.tolist() == [[pytest.approx(0.8), pytest.approx(0.9), 0, 0, 0]]
    assert merge([third, second, first]).labels.tolist() == merged.labels.tolist()
