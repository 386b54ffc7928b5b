"""Rooms from sentences hold what is asked for, and what they lack is found from their solids and voxels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sgrocc_core.classes import label_of
from sgrocc_core.cli import main
from sgrocc_core.data.occ_scannet import OccScanNet
from sgrocc_core.data.synthetic.words.asked import room_of
from sgrocc_core.data.synthetic.words.check import misses_of
from sgrocc_core.data.synthetic.words.reader import read_wish
from sgrocc_core.errors import ConfigError
from sgrocc_core.evaluation.prompts import evaluate_prompts, read_prompts
from sgrocc_core.words.encoder import INSTALL, installed_folder

PROMPTS = Path(__file__).resolve().parents[3] / "config/generation/prompts.yaml"


def made(text, seed=0, edition=1):
    return room_of(read_wish(text, None), seed, 0, edition)


@pytest.mark.parametrize("edition", [1, 2])
def test_a_room_holds_what_is_asked_for(edition):
    room = made("a small bedroom with a double bed, two chairs and a tv on the wall", 1, edition)
    assert room.misses == ()
    names = [piece.name for piece in room.scene.pieces]
    assert names.count("double bed") == 1 and names.count("tv") == 1
    assert names.count("chair") + names.count("office chair") == 2
    counts = np.bincount(room.grid.labels.ravel(), minlength=256)
    assert all(counts[label_of(name)] > 0 for name in ("bed", "chair", "tvs"))
    tv = room.scene.solids.centres[room.scene.solids.labels == label_of("tvs")] - room.scene.offset
    assert (tv[:, 2] > 0.7).all()


def test_the_same_seed_makes_the_same_room_and_another_seed_another():
    text = "an office with a desk and a chair at the desk"
    first, again, other = made(text), made(text), made(text, 1)
    np.testing.assert_array_equal(first.grid.labels, again.grid.labels)
    assert first.grid.labels.shape != other.grid.labels.shape or (first.grid.labels != other.grid.labels).any()


def test_what_a_room_lacks_is_found():
    room = made("a room with a red sofa facing the tv and a vase on the coffee table")
    assert room.misses == ()
    for other, said in (
        ("a room with a blue sofa", "there is no blue sofa in the voxels (class sofa)"),
        ("a room with three sofas", "there is a sofa, not 3"),
        ("a room with a bed", "there is no bed in the voxels (class bed)"),
        ("a room without a sofa, with a tv", "there is a sofa, which must not be there"),
        ("a room with a vase under the coffee table", "vase: not under the coffee table"),
        ("a room with a tv on the coffee table", "tv: not on the coffee table"),
    ):
        wish = read_wish(other, None)
        assert said in [miss.text for miss in misses_of(wish, room.scene, room.grid)]


def test_a_turned_sofa_no_longer_faces():
    room = made("a room with a sofa facing the tv")
    number = next(k for k, piece in enumerate(room.scene.pieces) if "sofa" in piece.name)
    pieces = list(room.scene.pieces)
    pieces[number] = replace(pieces[number], yaw=pieces[number].yaw + np.pi)
    turned = replace(room.scene, pieces=tuple(pieces))
    assert [m.text for m in misses_of(room.wish, turned, room.grid)] == ["sofa: not facing the tv"]


def test_what_finds_no_place_is_an_error():
    with pytest.raises(ConfigError, match="not everything found a place: there is no .* ask for fewer things"):
        made("a room with a monitor on the plant")


def test_the_command_writes_a_set_that_is_read_for_training_and_says_what_it_missed(tmp_path, capsys):
    out = tmp_path / "asked"
    text = "a bedroom with a bed and a wobblegong"
    options = ["--frames", "2", "--size", "96x72", "--jobs", "1", "--out", str(out)]
    assert main(["synth", "--prompt", text, *options]) == 0
    said = capsys.readouterr().out
    assert "not understood: 'wobblegong'" in said
    sample = OccScanNet(out, "train", (96, 72))[0]
    assert sample.scene == "prompt0000_00000"
    kept = json.loads((out / "prompts/prompt0000_00000.json").read_text())
    assert kept["prompt"] == text and kept["misses"] == [] and "wobblegong" in kept["read"]["missed"][0]
    assert main(["synth", "--prompt", "a kitchen", *options]) == 1
    assert "has the room prompt0000_00000 already, from the prompt" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "a bedroom without a bed with a bed"])
def test_the_command_refuses_a_bad_sentence_in_one_line(tmp_path, capsys, text):
    assert main(["synth", "--prompt", text, "--out", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.startswith("error: prompt is ")


def test_sixty_sentences_are_committed():
    prompts = read_prompts(PROMPTS)
    assert len(prompts) == len({p.text for p in prompts}) == 60


@pytest.mark.slow
@pytest.mark.skipif(installed_folder() is None, reason=f"no sentence encoder: {INSTALL}")
def test_every_named_class_is_in_nineteen_of_twenty_rooms():
    report = evaluate_prompts(PROMPTS)
    assert report["all_classes"] >= 0.95 and report["as_asked"] >= 0.75
