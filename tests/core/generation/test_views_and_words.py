"""Captions, prompts and groups of views."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from sgrocc_core.classes import UNKNOWN, label_of
from sgrocc_core.errors import ConfigError, ModelError
from sgrocc_core.generation.captions import asked_classes, caption_of_view, classes_in, seen_things
from sgrocc_core.generation.network.text import SentenceText, WordText, check_prompt, clauses
from sgrocc_core.generation.sampling import look_around
from sgrocc_core.generation.scores import agreement, frechet, project_labels
from sgrocc_core.generation.views import GroupOptions, ViewGroups, group_of, mirrored, pack_groups
from tests.samples.rooms.painted_room import FLOOR, SIZE, TABLE, WALL, grid, write_set

CHAIR, BED = label_of("chair"), label_of("bed")


def picture():
    labels = np.full((60, 80), WALL, np.uint8)
    labels[40:, :] = FLOOR
    labels[20:40, 5:25], labels[20:40, 40:60] = CHAIR, CHAIR
    labels[0:10, 60:80] = BED
    labels[0, 0] = TABLE  # a single pixel is no table that anybody names
    return labels


def test_what_is_seen_is_counted_and_named():
    assert seen_things(picture()) == {"chair": 2, "bed": 1}
    captions = {caption_of_view(picture(), np.random.default_rng(seed)) for seed in range(40)}
    assert "a room with two chairs and a bed" in captions and "a bedroom with a bed and two chairs" in captions
    assert all(asked_classes(caption) == {CHAIR, BED} for caption in captions)
    assert caption_of_view(np.full((9, 9), FLOOR, np.uint8), np.random.default_rng(0)) == "an empty room"


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("two couches facing a television", {"sofa", "tvs"}),
        ("a tabletop", set()),
        ("shelves and a desk by the window", {"furniture", "table", "window"}),
        ("ein Zimmer", set()),
    ],
)
def test_classes_are_recognised_by_their_nouns(prompt, names):
    assert asked_classes(prompt) == {label_of(name) for name in names}


def test_a_class_is_there_from_three_voxels_on():
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[0, 0, :2], labels[1, 1, :3] = BED, CHAIR
    assert classes_in(labels) == {CHAIR}


@pytest.mark.parametrize(("prompt", "words"), [(" \n ", "empty"), ("a bed " * 400, "2399 characters")])
def test_a_prompt_without_or_with_too_many_words_is_refused(prompt, words):
    with pytest.raises(ConfigError, match=words):
        check_prompt(prompt)


def test_a_sentence_is_read_as_a_whole_and_by_its_clauses():
    class Encoder:
        width = 3

        def encode(self, texts):
            return np.array([[len(text), 0, 1] for text in texts], np.float32)

    text = SentenceText(8, 4, Encoder())
    found = text.read("A bedroom with a bed, two chairs and a tv and a desk")
    assert clauses("A bedroom with a bed, two chairs", 9) == ["a bedroom", "a bed", "two chairs"]
    assert found[:, 0].tolist() == [52, 9, 5, 10]
    assert not text.read("").any() and text(torch.from_numpy(found)[None]).shape == (1, 4, 8)


def test_without_the_sentence_encoder_its_installation_and_the_fall_back_are_named(monkeypatch):
    monkeypatch.setattr("sgrocc_core.words.encoder.installed_folder", lambda: None)
    with pytest.raises(ModelError, match="make setup-words.*text: words"):
        SentenceText(8, 4)


def test_words_keep_their_numbers_and_plurals_share_one():
    text = WordText(8, 5)
    assert np.array_equal(text.read("two Chairs"), text.read("two chair"))
    assert np.count_nonzero(text.read("one two three four five six seven")) == 5


def test_a_ray_finds_the_first_voxel():
    views = look_around(1, SIZE)
    seen = project_labels(grid(), views.K[0], views.T_bc[0], SIZE)
    assert seen[13, 16] == TABLE and seen[12, 0] in (FLOOR, WALL) and (seen == WALL).any() and (seen == TABLE).any()


def test_a_mirrored_group_shows_the_mirrored_picture():
    views = look_around(2, SIZE)
    target = grid()
    target[30:, :15, 4:20] = CHAIR
    labels = np.stack([project_labels(target, K, T, SIZE) for K, T in zip(views.K, views.T_bc)])
    image = np.repeat(labels[..., None], 3, -1)
    _, flipped, K, poses, other = mirrored(image, labels, views.K, views.T_bc, target)
    again = np.stack([project_labels(other, k, T, SIZE) for k, T in zip(K, poses)])
    assert (again == flipped).mean() > 0.97 and (again == labels).mean() < 0.97


def test_views_of_a_group_stand_near_and_look_the_same_way():
    poses = np.stack([look_around(1, SIZE).T_wc[0]] * 4)
    poses[1, 0, 3] += 1.0
    poses[2, 0, 3] += 4.0
    poses[3, :3, :3] = np.diag([-1.0, -1, 1]) @ poses[3, :3, :3]
    assert group_of(poses, 0, 3, np.random.default_rng(0)) == [0, 1, 0]


def test_an_imagined_set_is_read_as_groups(tmp_path):
    folder = pack_groups(write_set(tmp_path / "set"), "train", SIZE)
    groups = ViewGroups([folder], GroupOptions(2, WordText(8, 5).read, mirror=False))
    item = groups[(1, 0, 0)]
    assert len(groups) == 6 and item["image"].shape == (2, 3, 24, 32)
    known = item["target"] != UNKNOWN
    assert np.array_equal(item["target"][known], grid()[known]) and 0.1 < known.mean() < 0.9
    assert np.array_equal(groups[(1, 0, 0)]["image"], item["image"])


def test_agreement_is_one_for_equal_pictures_and_nothing_for_disjoint_ones():
    assert agreement(picture(), picture()) == 1.0
    assert agreement(np.full((4, 4), BED), np.full((4, 4), CHAIR)) == 0.0
    assert agreement(np.array([BED, BED]), np.array([BED, UNKNOWN])) == 1.0


def test_the_frechet_distance_is_the_shift_in_deviations():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(400, 6)) * np.array([4.0, 1, 1, 1, 1, 1])
    assert frechet(real, real) == pytest.approx(0, abs=1e-6)
    shift = np.array([8.0, 0, 0, 0, 0, 0])  # two deviations of the widest axis
    assert frechet(real, real + shift) == pytest.approx(4.0, rel=0.05)
