"""Exported files hold the map voxel for voxel, as other programs read them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import yaml

from sgrocc_core.classes import COLORS, label_of
from sgrocc_core.cli import main
from sgrocc_core.map_files.file import MapFolder
from sgrocc_core.map_files.format import MapModel, SavedMap

FLOOR, CHAIR, WALL = label_of("floor"), label_of("chair"), label_of("wall")


@pytest.fixture(scope="module")
def saved():
    """A floor of 10 x 8 voxels at height -1, a wall with a door, a chair, a solid block of 16^3, and air."""
    rng = np.random.default_rng(1)
    labels = {(x, y, -1): FLOOR for x in range(-5, 5) for y in range(-4, 4)}
    labels |= {(4, y, z): WALL for y in range(-4, 4) for z in range(20) if not (y == 0 and z < 15)}
    labels |= {(-2, 1, z): CHAIR for z in range(6)} | {(-30, 7, 2): 255}
    labels |= {(x, y, z): WALL for x in range(32, 48) for y in range(16) for z in range(16)}
    air = {(x, y, z) for x in range(-5, 4) for y in range(-4, 4) for z in range(20)} - set(labels)
    voxels, free = np.array(list(labels), np.int32), np.array(sorted(air), np.int32)
    probability = (rng.integers(8, 17, len(voxels)) / 16).astype(np.float32)
    values = np.array(list(labels.values()), np.uint8)
    return SavedMap(voxels, values, probability, free, "odom", 7, {}, MapModel("small", 4, 32))


@pytest.fixture(scope="module")
def folder(saved, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "office"
    MapFolder(folder).save(saved, picture=False)
    return folder


def export(folder, kind, out, *more) -> None:
    assert main(["export-map", str(folder), "--format", kind, "--out", str(out), *more]) == 0


def states_of(saved) -> dict:
    occupied = {tuple(v): True for v in saved.voxels.tolist()}
    return {tuple(v): False for v in saved.free.tolist()} | occupied


def test_octomap_reads_the_octree_back_voxel_for_voxel(saved, folder, tmp_path):
    pyoctomap = pytest.importorskip("pyoctomap")
    export(folder, "bt", tmp_path / "map.bt")
    tree = pyoctomap.OcTree(0.5)
    assert tree.readBinary(str(tmp_path / "map.bt")) and tree.getResolution() == pytest.approx(0.08)
    found = {}
    for leaf in tree.begin_leafs():
        size, centre = leaf.getSize(), np.array(leaf.getCoordinate())
        edge, low = round(size / 0.08), np.rint((centre - size / 2) / 0.08).astype(int)
        inside = np.stack(np.meshgrid(*[np.arange(edge)] * 3), -1).reshape(-1, 3) + low
        found |= dict.fromkeys(map(tuple, inside.tolist()), bool(tree.isNodeOccupied(leaf)))
    assert found == states_of(saved)
    assert f"size {tree.size()}\n".encode() in (tmp_path / "map.bt").read_bytes()[:100]


def test_an_octree_of_random_blocks_is_read_back_too(tmp_path):
    pyoctomap = pytest.importorskip("pyoctomap")
    from sgrocc_core.map_files.octree import Octree, bt_file

    rng = np.random.default_rng(2)
    keys = np.array([(0, 0, 0), (-1, 0, 0), (3, -2, 1), (-2048, 2047, 5)])
    occupied, free = rng.random((2, 4, 16, 16, 16)) < 0.3
    tree = Octree()
    assert tree.set(keys, occupied, free) == 0
    assert tree.set(np.array([(2048, 0, 0)]), occupied[:1], free[:1]) == 1
    tree.set(keys[1:2], np.zeros((1, 16, 16, 16), bool), np.zeros((1, 16, 16, 16), bool))
    (tmp_path / "x.bt").write_bytes(bt_file(*tree.encode()))
    read = pyoctomap.OcTree(0.08)
    assert read.readBinary(str(tmp_path / "x.bt")) and read.size() == tree.encode()[1]
    for n in (0, 2, 3):
        for x, y, z in rng.integers(0, 16, (300, 3)).tolist():
            centre = (keys[n] * 16 + [x, y, z] + 0.5) * 0.08
            node = read.search(centre)
            expected = None if not (occupied[n, x, y, z] or free[n, x, y, z]) else bool(occupied[n, x, y, z])
            assert (None if node is None else bool(read.isNodeOccupied(node))) == expected
    assert read.search((keys[1] * 16 + 3.5) * 0.08) is None


def test_the_point_cloud_has_the_voxels_centres_colours_and_labels(saved, folder, tmp_path):
    export(folder, "pcd", tmp_path / "map.pcd")
    header, _, data = (tmp_path / "map.pcd").read_bytes().partition(b"DATA binary\n")
    fields = dict(line.split(" ", 1) for line in header.decode().splitlines()[1:])
    assert fields["FIELDS"] == "x y z rgb label probability" and fields["POINTS"] == str(len(saved.voxels))
    kinds = {"F4": "<f4", "U4": "<u4", "U1": "u1"}
    types = [kinds[t + s] for t, s in zip(fields["TYPE"].split(), fields["SIZE"].split())]
    points = np.frombuffer(data, np.dtype(list(zip(fields["FIELDS"].split(), types))))
    assert np.allclose(np.stack([points[a] for a in "xyz"], 1), (saved.voxels + 0.5) * 0.08, atol=1e-6)
    assert np.array_equal(points["label"], saved.labels) and np.array_equal(points["probability"], saved.probability)
    assert points["rgb"].view("<u4")[0] == int.from_bytes(bytes(COLORS[saved.labels[0]]), "big")


def faces_by_search(voxels) -> int:
    held = set(map(tuple, voxels.tolist()))
    sides = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    return sum((x + a, y + b, z + c) not in held for x, y, z in held for a, b, c in sides)


def test_the_meshes_have_the_outer_faces_and_gltf_has_one_mesh_per_class_with_y_up(saved, folder, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    export(folder, "ply", tmp_path / "map.ply")
    export(folder, "glb", tmp_path / "map.glb")
    faces = faces_by_search(saved.voxels)
    assert len(trimesh.load(tmp_path / "map.ply", process=False).faces) == 2 * faces
    scene = trimesh.load(tmp_path / "map.glb")
    assert set(scene.geometry) == {"floor", "chair", "wall", "unlabelled"}
    assert sum(len(mesh.faces) for mesh in scene.geometry.values()) == 2 * faces
    low, high = scene.bounds
    expected = np.array([saved.voxels.min(0), saved.voxels.max(0) + 1]) * 0.08
    assert np.allclose([low[0], -high[2], low[1]], expected[0], atol=1e-6)
    assert np.allclose([high[0], -low[2], high[1]], expected[1], atol=1e-6)
    chair = scene.geometry["chair"]
    assert chair.visual.material.baseColorFactor.tolist()[:3] == COLORS[CHAIR].tolist()
    assert (chair.face_normals * (chair.triangles_center - chair.bounds.mean(0))).sum(1).min() > 0


def by_map_server(file) -> dict:
    """The grid that Nav2's map server makes of a YAML file, as map_io's trinary mode does, by column of voxels."""
    settings = yaml.safe_load(file.read_text())
    assert settings["mode"] == "trinary" and settings["negate"] == 0 and settings["resolution"] == 0.08
    grey = cv2.imread(str(file.parent / settings["image"]), cv2.IMREAD_UNCHANGED)
    shade = np.float32(1) - grey.astype(np.float32) / np.float32(255)
    cells = np.full(grey.shape, -1)
    cells[shade >= settings["occupied_thresh"]] = 100
    cells[shade <= settings["free_thresh"]] = 0
    x, y = (round(value / 0.08) for value in settings["origin"][:2])
    return {(x + c, y + r): int(v) for (r, c), v in np.ndenumerate(cells[::-1]) if v != -1}


def from_above(saved, low, high) -> dict:
    """100 or 0 by column, of the voxels whose centres lie between two heights, metres."""
    found = {}
    for voxels, value in ((saved.free, 0), (saved.voxels, 100)):
        heights = (voxels[:, 2] + 0.5) * 0.08
        found |= {tuple(v): value for v in voxels[(heights >= low) & (heights <= high)][:, :2].tolist()}
    return found


def test_nav2s_map_server_reads_the_slab_above_the_floor(saved, folder, tmp_path):
    export(folder, "nav2", tmp_path / "map.pgm")
    floor = -0.5 * 0.08
    assert by_map_server(tmp_path / "map.yaml") == from_above(saved, floor + 0.15, floor + 1.8)
    export(folder, "nav2", tmp_path / "thin.pgm", "--min-height", "0.9", "--max-height", "1.1", "--floor-height", "0")
    assert by_map_server(tmp_path / "thin.yaml") == from_above(saved, 0.9, 1.1)


def test_dense_arrays_hold_the_map_from_its_lowest_corner(saved, folder, tmp_path):
    export(folder, "npz", tmp_path / "map.npz")
    with np.load(tmp_path / "map.npz") as arrays:
        low = np.rint(arrays["corner"] / arrays["voxel_size"]).astype(int)
        occupied, free = np.argwhere(arrays["labels"]) + low, np.argwhere(arrays["free"]) + low
        order = np.lexsort(saved.voxels.T[::-1])
        assert np.array_equal(occupied, saved.voxels[order])
        assert np.array_equal(arrays["labels"][tuple((occupied - low).T)], saved.labels[order])
        assert np.array_equal(arrays["probability"][tuple((occupied - low).T)], saved.probability[order])
        assert {tuple(v) for v in free.tolist()} == {tuple(v) for v in saved.free.tolist()}
        assert str(arrays["frame_id"]) == "odom" and arrays["classes"][CHAIR] == "chair"


def test_only_some_classes_and_the_default_name(saved, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export-map", str(folder), "--format", "pcd", "--classes", "chair, unlabelled"]) == 0
    assert b"POINTS 7\n" in (tmp_path / "office.pcd").read_bytes()
    assert f"7 occupied and {len(saved.free):,} free voxels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "bt", "--out", "x.ply"], "--out is 'x.ply'; with --format bt it must end in .bt"),
        (["--format", "bt", "--classes", "chairs"], "--classes holds 'chairs'; a class must be one of ceiling, floor"),
        (["--format", "bt", "--min-height", "1"], "--min-height is only for --format nav2; leave it out with bt"),
        (["--format", "nav2", "--min-height", "2"], "--max-height is 1.8; it must be at least 0.08 above"),
        (["--format", "nav2", "--floor-height", "nan"], "--floor-height is nan; it must be a finite number"),
        (["--format", "npz", "--out", "MAP/map.npz"], "the map itself; it must be another file"),
    ],
)
def test_wrong_options_are_refused_in_a_sentence(folder, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(["export-map", str(folder), *[a.replace("MAP", str(folder)) for a in arguments]]) == 1
    assert words in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_map_that_is_missing_in_the_root_folder_is_said_without_an_out_file(capsys):
    assert main(["export-map", "/no_map_here", "--format", "bt"]) == 1
    assert "no_map_here" in capsys.readouterr().err


def test_an_empty_a_missing_and_a_far_spread_map_are_refused_in_a_sentence(saved, tmp_path, capsys):
    none, model = np.zeros((0, 3), np.int32), MapModel("small", 4, 32)
    empty = SavedMap(none, np.zeros(0, np.uint8), np.zeros(0, np.float32), none, "map", 0, {}, model)
    MapFolder(tmp_path / "empty").save(empty, picture=False)
    far = np.array([[0, 0, 0], [30000, 30000, 0]], np.int32)
    spread = SavedMap(far, np.array([2, 2], np.uint8), np.ones(2, np.float32), none, "map", 0, {}, model)
    MapFolder(tmp_path / "spread").save(spread, picture=False)
    for name, kind, words in (
        ("empty", "ply", "the map is empty: there is nothing to export"),
        ("missing", "ply", "missing"),
        ("spread", "npz", "the map spans 2400 x 2400 x 0 m: 900060001 cells, above"),
    ):
        assert main(["export-map", str(tmp_path / name), "--format", kind, "--out", str(tmp_path / f"x.{kind}")]) == 1
        assert words in capsys.readouterr().err
