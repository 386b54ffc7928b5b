"""Tables of furniture models: catalogues, CSV files, upright axes, sizes, classes by name, errors in one sentence."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh

from sgrocc_core.classes import NAMES
from sgrocc_core.data.assets.config import AssetConfig
from sgrocc_core.data.assets.entry import role_of, upright
from sgrocc_core.data.assets.library import left_out_table, prepare_all, used_table
from sgrocc_core.data.assets.loading import load
from sgrocc_core.data.assets.sweethome import class_of
from sgrocc_core.data.assets.table import read_folder
from sgrocc_core.errors import ConfigError, DataError
from tests.samples.rooms.furniture import HEADER, chair, write_folder, write_obj

DEBIAN = Path("/usr/share/sweethome3d/furniture")
CATALOGUE = """license=Public domain
id#1=test#chair
name#1=Kitchen chair
category#1=Kitchen
model#1=/models/chair.obj
width#1=45.0
depth#1=50.0
height#1=90.0
creator#1=Somebody
id#2=test#car
name#2=Car
category#2=Vehicles
model#2=/models/chair.obj
width#2=180
depth#2=400
height#2=140
id#3=test#lost
name#3=Table
category#3=Office
model#3=/models/lost.obj
width#3=120
depth#3=80
height#3=75
"""


@pytest.fixture
def archive(tmp_path) -> Path:
    write_obj(tmp_path / "chair.obj", chair(), y_up=True)
    with zipfile.ZipFile(tmp_path / "test.sh3f", "w") as opened:
        opened.writestr("PluginFurnitureCatalog.properties", CATALOGUE)
        opened.write(tmp_path / "chair.obj", "models/chair.obj")
    return tmp_path


def height_of_back_and_front(corners: np.ndarray) -> tuple[float, float]:
    """Highest point in the back quarter and in the front quarter, metres."""
    points = corners.reshape(-1, 3)
    y = points[:, 1] / np.abs(points[:, 1]).max()
    return float(points[y > 0.8, 2].max()), float(points[y < -0.8, 2].max())


def test_a_catalogue_names_models_sizes_and_licences(archive):
    entries, left_out = read_folder(archive)
    assert [(e.name, e.title, NAMES[e.label], e.size, e.licence, e.creator) for e in entries] == [
        ("test/chair", "Kitchen chair", "chair", (0.45, 0.5, 0.9), "Public domain", "Somebody")
    ]
    assert dict(left_out)["test/lost"] == "its file is not in the archive"


def test_a_model_of_a_catalogue_stands_upright_with_its_back_behind(archive):
    loaded = load(read_folder(archive)[0][0])
    points = loaded.corners.reshape(-1, 3)
    np.testing.assert_allclose(points.min(0), [-0.225, -0.25, 0], atol=1e-6)
    np.testing.assert_allclose(points.max(0), [0.225, 0.25, 0.9], atol=1e-6)
    assert height_of_back_and_front(loaded.corners) == pytest.approx((0.9, 0.48))


@pytest.mark.parametrize(("y_up", "up"), [(True, "y"), (False, "z")])
def test_a_table_s_upright_axis_and_size_are_applied(tmp_path, y_up, up):
    write_obj(tmp_path / "c.obj", chair(), y_up)
    (tmp_path / "assets.csv").write_text(HEADER + f"c.obj,chair,{up},0.5,0.55,1.0,CC0,\n")
    loaded = load(read_folder(tmp_path)[0][0])
    np.testing.assert_allclose(np.ptp(loaded.corners.reshape(-1, 3), axis=0), [0.5, 0.55, 1.0], atol=1e-6)
    assert height_of_back_and_front(loaded.corners)[0] == pytest.approx(1.0)


def test_a_glb_file_is_read_with_its_colour(tmp_path):
    mesh = chair()
    mesh.visual = trimesh.visual.TextureVisuals(
        material=trimesh.visual.material.PBRMaterial(baseColorFactor=[255, 0, 0, 255])
    )
    mesh.export(tmp_path / "c.glb")
    (tmp_path / "assets.csv").write_text(HEADER + "c.glb,chair,z,0.45,0.5,0.9,CC0,\n")
    loaded = load(read_folder(tmp_path)[0][0])
    np.testing.assert_allclose(loaded.colours[0], [[1, 0, 0], [1, 0, 0]], atol=0.01)


def test_other_proportions_than_the_table_s_are_an_error(tmp_path):
    write_obj(tmp_path / "c.obj", chair())
    (tmp_path / "assets.csv").write_text(HEADER + "c.obj,chair,z,0.9,0.5,0.9,CC0,\n")
    with pytest.raises(DataError, match="is not that of"):
        load(read_folder(tmp_path)[0][0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,class\n", "no column 'up'"),
        (HEADER.strip() + ",colour\n", "unknown column 'colour'"),
        (HEADER + "lost.obj,chair,z,0.5,0.5,1,CC0,\n", "line 2: there is no file 'lost.obj'"),
        (HEADER + "../c.obj,chair,z,0.5,0.5,1,CC0,\n", "inside the folder"),
        (HEADER + "c.stl,chair,z,0.5,0.5,1,CC0,\n", "must end in .obj or .glb"),
        (HEADER + "c.obj,throne,z,0.5,0.5,1,CC0,\n", "class is 'throne'; it must be one of chair"),
        (HEADER + "c.obj,chair,up,0.5,0.5,1,CC0,\n", "up is 'up'; it must be one of x, y, z"),
        (HEADER + "c.obj,chair,z,wide,0.5,1,CC0,\n", "width is 'wide'; it must be a length in metres"),
        (HEADER + "c.obj,chair,z,5,0.5,1,CC0,\n", "a model of class chair must be from"),
        (HEADER + "c.obj,chair,z,0.5,0.5,1,,\n", "has no licence"),
        (HEADER, "name no model"),
        (HEADER + "c.obj,chair,z,0.5,0.5,1,CC0,\n" * 2, "two models are called c"),
    ],
)
def test_a_wrong_table_is_one_clear_sentence(tmp_path, text, words):
    write_obj(tmp_path / "c.obj", chair())
    (tmp_path / "assets.csv").write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_folder(tmp_path)
    assert "\n" not in str(caught.value)


def test_folders_without_a_table_and_broken_archives_are_errors(tmp_path):
    with pytest.raises(DataError, match="sweethome3d-furniture"):
        read_folder(tmp_path / "none")
    with pytest.raises(DataError, match=r"no assets\.csv and no \.sh3f"):
        read_folder(tmp_path)
    (tmp_path / "broken.sh3f").write_bytes(b"not a zip")
    with pytest.raises(DataError, match="not a furniture archive"):
        read_folder(tmp_path)


def test_what_cannot_be_used_is_left_out_by_name(tmp_path):
    folder = write_folder(tmp_path / "models")
    (folder / "table.obj").write_text("v nothing\n")
    library = prepare_all(AssetConfig(folder, cache=tmp_path / "cache"))
    assert [e.name for e in library.entries] == ["chair_a", "chair_b", "cup", "sofa"]
    reasons = dict(library.left_out)
    assert "cannot be made solid" in reasons["bowl"] and "cannot be read" in reasons["table"]
    assert "bowl,it cannot be made solid" in left_out_table(library)
    assert prepare_all(AssetConfig(folder, cache=tmp_path / "cache")).left_out == library.left_out  # from the cache


def test_a_damaged_file_of_the_cache_is_made_anew(tmp_path):
    config = AssetConfig(write_folder(tmp_path / "models"), cache=tmp_path / "cache")
    first = prepare_all(config)
    sofa = next(e for e in first.entries if e.name == "sofa")
    whole = first.files["sofa"].read_bytes()
    first.files["sofa"].write_bytes(whole[: len(whole) // 2])
    again = prepare_all(config)
    assert again.files == first.files and len(again.model(sofa).corners) > 10


def test_folders_of_which_nothing_can_be_used_are_an_error(tmp_path):
    (tmp_path / "c.obj").write_text("v nothing\n")
    (tmp_path / "assets.csv").write_text(HEADER + "c.obj,chair,z,0.5,0.5,1,CC0,\n")
    with pytest.raises(DataError, match="none of the 1 models"):
        prepare_all(AssetConfig(tmp_path, cache=tmp_path / "cache"))


def test_licences_of_what_was_used_are_listed(tmp_path):
    library = prepare_all(AssetConfig(write_folder(tmp_path / "models"), cache=tmp_path / "cache"))
    assert used_table(library, {"sofa": 3}).splitlines() == [
        "model,title,class,creator,licence,rooms", "sofa,sofa,sofa,a test,CC0,3",
    ]  # fmt: skip


def test_models_of_held_out_rooms_are_not_in_rooms_for_training(tmp_path):
    library = prepare_all(AssetConfig(write_folder(tmp_path / "models"), cache=tmp_path / "cache"))
    train, other = library.of_role(held_out=False), library.of_role(held_out=True)
    assert len(train["chair"]) == len(other["chair"]) == 1 and train["chair"] != other["chair"]
    assert len(train["sofa"]) == 1 and "sofa" not in other


@pytest.mark.parametrize(
    ("name", "category", "kind"),
    [
        ("Bedside table", "Bedroom", "table"), ("Child bed", "Bedroom", "bed"), ("Table lamp", "Lights", "objects"),
        ("TV stand", "Living room", "furniture"), ("TV 16:9", "Living room", "tvs"), ("Couch", "Living room", "sofa"),
        ("Office chair", "Office", "chair"), ("Workbench", "Miscellaneous", None), ("Truck", "Vehicles", None),
        ("Sitting male", "Characters", None), ("Female", "Characters", "objects"), ("Pine", "Exterior", None),
        ("Cafe chair", "Exterior", "chair"), ("Toaster", "Kitchen", "objects"),
    ],
)  # fmt: skip
def test_names_decide_the_class(name, category, kind):
    assert class_of(name, category) == kind


def test_sizes_decide_what_a_model_stands_for():
    assert role_of("chair", (0.45, 0.5, 0.9)) == "chair" and role_of("chair", (0.8, 0.8, 0.9)) == "armchair"
    assert role_of("chair", (0.4, 0.4, 1.0), seat=0.75) == "stool" and role_of("table", (1.0, 0.5, 0.4)) == "coffee"
    assert role_of("objects", (0.1, 0.1, 0.2)) == "small" and role_of("chair", (0.05, 0.05, 0.1)) is None


def test_upright_turns_the_named_axes_to_z_and_to_the_front():
    for up, front in (("y", "z"), ("z", "-y"), ("x", "y"), ("-y", "x")):
        R = upright(up, front)
        axes = {"x": [1, 0, 0], "y": [0, 1, 0], "z": [0, 0, 1]}
        sign = -1 if up.startswith("-") else 1
        np.testing.assert_allclose(R @ (sign * np.array(axes[up[-1]])), [0, 0, 1])
        sign = -1 if front.startswith("-") else 1
        np.testing.assert_allclose(R @ (sign * np.array(axes[front[-1]])), [0, -1, 0])
        assert np.linalg.det(R) == pytest.approx(1)
    with pytest.raises(DataError, match="different axes"):
        upright("z", "-z")


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_share_that_is_not_allowed_is_an_error(share):
    with pytest.raises(ConfigError, match="share is"):
        AssetConfig(Path("x"), share)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's sweethome3d-furniture is not installed")
def test_debian_s_furniture_has_upright_chairs_and_sofas():
    entries, _ = read_folder(DEBIAN)
    assert len(entries) > 300
    named = {e.name: e for e in entries}
    for name in ("Scopia/white_kitchen_chair", "KatorLegaz/dining-chair", "Scopia/leather_sofa"):
        back, front = height_of_back_and_front(load(named[name]).corners)
        assert back == pytest.approx(named[name].size[2], abs=0.02) and front < 0.75 * back
