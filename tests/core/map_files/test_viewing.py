"""How `sgrocc view` recognises paths and selects Gaussians."""

import numpy as np
import pytest

from sgrocc_core.errors import DataError
from sgrocc_core.gaussians.gaussians import VOXEL_VARIANCE, covariance
from sgrocc_core.gaussians.memory import GaussianMemory
from sgrocc_core.map_files.file import MapFolder, SavedMap, load_map
from sgrocc_core.map_files.format import MapModel
from sgrocc_core.viewing.gaussians import gaussians_of_map
from sgrocc_core.viewing.kind import kind_of
from tests.samples.recordings.bag_samples import write_bag


def a_memory(cells):
    """A memory with two Gaussians per cell at the given cells (n, 3), the second one transparent; class 3, wall."""
    memory = GaussianMemory(2, 4)
    for n, cell in enumerate(np.asarray(cells)):
        slot = int(memory.allocate(cell[None] // 8)[0])
        x, y, z = cell % 8
        row = slot * 512 + (x * 8 + y) * 8 + z
        memory.fields.tag[row] = 1
        memory.fields.opacities[row] = 4.0 - 0.1 * n, -8.0
        memory.fields.logits[row, 0, 2] = 5.0
        memory.fields.means[row, 0] = 0.01, -0.02, 0.03
    return memory


def saved_with(memory, model=None):
    nothing, labels, probability = np.zeros((0, 3), np.int32), np.zeros(0, np.uint8), np.zeros(0, np.float32)
    return SavedMap(nothing, labels, probability, nothing, "map", 7, memory.arrays(), model or MapModel("m", 2, 4))


def test_a_bag_and_a_map_are_told_apart_by_what_they_hold(tmp_path):
    bag = write_bag(tmp_path / "walk")
    file = next(bag.glob("*.mcap"))
    nameless = tmp_path / "nameless"
    nameless.write_bytes(file.read_bytes())
    MapFolder(tmp_path / "made").save(saved_with(a_memory([[10, 0, 0]])), picture=False)
    assert [kind_of(p) for p in (bag, file, nameless)] == ["bag"] * 3
    assert [kind_of(p) for p in (tmp_path / "made", tmp_path / "made/map.npz")] == ["map"] * 2


def test_what_is_neither_or_both_is_refused_with_what_is_allowed(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "notes.txt", tmp_path / "empty"):
        with pytest.raises(
            DataError, match=r"is neither a bag nor a map; allowed are a bag .* and a map .a folder with map.npz"
        ):
            kind_of(path)
    with pytest.raises(DataError, match="no such file or folder: .*nowhere; allowed are"):
        kind_of(tmp_path / "nowhere")
    both = write_bag(tmp_path / "both")
    MapFolder(both).save(saved_with(a_memory([[10, 0, 0]])), picture=False)
    with pytest.raises(DataError, match=r"holds a map and a bag; name one of them: .*both/map.npz"):
        kind_of(both)


def test_of_too_many_gaussians_the_most_opaque_are_drawn():
    saved = saved_with(a_memory([[12, 0, 0], [13, 0, 0], [14, 0, 0]]))  # each less opaque than the one before
    drawn, found = gaussians_of_map(saved, 2)
    np.testing.assert_allclose(drawn.means[:, 0], [2.01, 2.17], atol=1e-6)
    assert found == 3 and drawn.labels.tolist() == [3, 3] and len(gaussians_of_map(saved, 0)[0].means) == 0


def test_a_saved_map_gives_its_gaussians_wherever_they_are(tmp_path):
    memory = a_memory([[12, 0, 0], [-1, -9, 17]])
    MapFolder(tmp_path).save(saved_with(memory), picture=False)
    drawn, found = gaussians_of_map(load_map(tmp_path), 10)
    expected = (np.array([[12, 0, 0], [-1, -9, 17]]) + 0.5) * 0.16 + [0.01, -0.02, 0.03]
    np.testing.assert_allclose(drawn.means, expected, atol=1e-6)
    np.testing.assert_allclose(drawn.scales, 0.05)  # raw 0: half of the way from 2 to 8 cm
    assert found == 2


def test_a_map_without_gaussians_has_none_to_draw(tmp_path):
    MapFolder(tmp_path).save(saved_with(a_memory([[1, 0, 0]])), picture=False)
    generation = next((tmp_path / ".generations").iterdir())
    (generation / "gaussians.safetensors").unlink()
    assert gaussians_of_map(load_map(tmp_path), 10)[1] == 0


def test_gaussians_that_no_memory_holds_are_refused(tmp_path):
    memory = a_memory([[12, 0, 0]])
    memory.fields.means[:512] = 3.0
    with pytest.raises(DataError, match="'means' holds 3"):
        gaussians_of_map(saved_with(memory), 10)
    with pytest.raises(DataError, match="must be"):
        gaussians_of_map(saved_with(a_memory([[12, 0, 0]]), MapModel("m", 3, 4)), 10)


def test_a_map_file_that_claims_absurd_numbers_of_gaussians_is_refused(tmp_path):
    MapFolder(tmp_path).save(saved_with(a_memory([[1, 0, 0]]), MapModel("m", 10**15, 4)), picture=False)
    with pytest.raises(DataError, match="'gaussians_per_cell' holds 10"):
        load_map(tmp_path)


def test_an_ellipsoid_has_the_axes_of_its_gaussian():
    pytest.importorskip("rerun", reason="rerun-sdk is not installed: make setup-view")
    from sgrocc_core.geometry.poses import rotation_from_quaternion
    from sgrocc_core.viewing.shapes import ellipsoids

    memory = a_memory([[12, 0, 0]])
    row = int(np.flatnonzero(memory.fields.tag)[0])
    memory.fields.rotations[row, 0] = np.array([0.1, 0.5, -0.3, 0.8]) / np.sqrt(0.99)
    memory.fields.scales[row, 0] = -2.0, 0.0, 2.0
    seen, _ = gaussians_of_map(saved_with(memory), 1)
    drawn = ellipsoids(seen)
    x, y, z, w = drawn.quaternions.as_arrow_array().to_pylist()[0]
    half = np.array(drawn.half_sizes.as_arrow_array().to_pylist()[0])
    R = rotation_from_quaternion(np.array([x, y, z, w]))
    expected = covariance(seen.scales, seen.rotations)[0] - VOXEL_VARIANCE * np.eye(3)
    np.testing.assert_allclose(R @ np.diag(half**2) @ R.T, expected, atol=1e-7)
