"""The mapper with the shipped model in a room made of planes."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from sgrocc_core.depth import source as depth_source
from sgrocc_core.errors import ConfigError, DataError, FrameError
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from sgrocc_core.voxels import voxel_map as voxel_map_module
from tests.samples.engines import small_engine
from tests.samples.rooms import scene

STAGES = ["image", "slice", "expert", "memory", "splat", "total"]


@pytest.fixture(scope="module")
def engine():
    return small_engine()


class Changed:
    """The real engine with the output of the expert changed by a function."""

    def __init__(self, engine, change):
        self.engine, self.change = engine, change
        self.spec, self.description = engine.spec, engine.description

    def image(self, *inputs):
        return self.engine.image(*inputs)

    def expert(self, *inputs):
        return self.change(self.engine.expert(*inputs))


def silenced(gaussians):
    return replace(gaussians, opacities=np.full_like(gaussians.opacities, -20.0))


def filled(gaussians):
    """Gaussians that fill all space with certainty, with every class in some place."""
    logits = np.roll(np.eye(11, dtype=np.float32) * 9, 1, 0)[np.arange(gaussians.logits.shape[0]) // 500 % 11]
    return replace(
        gaussians, opacities=np.full_like(gaussians.opacities, 3.0), logits=gaussians.logits * 0 + logits[:, None]
    )


def mapped(engine, frames, source="fused"):
    mapper = OccupancyMapper(engine, MapperConfig(depth_source=source))
    return mapper, [mapper.step(f) for f in frames]


@pytest.fixture(scope="module")
def walked(engine):
    """A mapper after a walk of six frames, and its updates. Tests must not change it."""
    return mapped(engine, scene.walk(6))


def as_dict(voxels, labels, probability):
    return dict(zip(map(tuple, voxels.tolist()), zip(labels.tolist(), probability.tolist(), strict=True), strict=True))


def state(mapper):
    return {name: a.tobytes() for name, a in mapper.map.memory.arrays().items()}, as_dict(
        *mapper.map.voxel_map.occupied()
    )


def test_a_step_says_what_changed_when_and_how_long_it_took(walked):
    mapper, updates = walked
    assert [u.sequence for u in updates] == [1, 2, 3, 4, 5, 6] and mapper.map.sequence == 6
    assert [u.stamp_ns for u in updates[:2]] == [0, 100_000_000]
    first = updates[2]
    assert first.voxels.dtype == np.int32 and first.labels.dtype == np.uint8 and first.probability.dtype == np.float32
    assert len(first.voxels) == len(first.labels) == len(first.probability) > 100
    assert {tuple(b) for b in (first.voxels // 16).tolist()} == {tuple(b) for b in first.changed_blocks.tolist()}
    assert list(first.timings) == STAGES and first.timings["total"] == pytest.approx(
        sum(first.timings[s] for s in STAGES[:-1])
    )
    assert first.depth.shape == (240, 320) and first.depth[120, 160] == scene.walk(6)[2].depth[120, 160]


def test_the_updates_give_the_map(walked):
    mapper, updates = walked
    mirror = {}
    for u in updates:
        for voxel, value in as_dict(u.voxels, u.labels, u.probability).items():
            if value[0]:
                mirror[voxel] = value
            else:
                del mirror[voxel]
    assert mirror == as_dict(*mapper.map.voxel_map.occupied())


def test_what_the_sensor_saw_is_in_the_map_and_what_it_saw_through_is_not(walked):
    mapper, _ = walked
    occupied = set(as_dict(*mapper.map.voxel_map.occupied()))
    wall = [(45, j, k) for j in range(-5, 6) for k in range(13, 18)]  # x = 3.6 m, from 1.0 to 1.4 m above the floor
    behind = [(44, j, k) for _, j, k in wall]
    assert np.mean([a in occupied or b in occupied for a, b in zip(wall, behind, strict=True)]) > 0.95
    air = [(i, j, k) for i in range(12, 38) for j in range(-3, 4) for k in range(13, 17)]
    assert np.mean([v in occupied for v in air]) < 0.02
    free = {tuple(v) for v in mapper.map.voxel_map.free().tolist()}
    assert np.mean([v in free for v in air]) > 0.9


def test_without_the_experts_gaussians_hidden_voxels_and_labels_are_gone(engine, walked):
    """Geometry seen by depth stays without a class; classes and hidden space come from the network."""
    voxels, labels, _ = walked[0].map.voxel_map.occupied()
    assert ((labels >= 1) & (labels <= 11)).mean() > 0.5 and scene.is_hidden(voxels).sum() > 50
    bare, _ = mapped(Changed(engine, silenced), scene.walk(6))
    voxels, labels, _ = bare.map.voxel_map.occupied()
    assert len(voxels) > 1000 and (labels == 255).all() and bare.map.voxel_map.unlabelled == len(voxels)
    assert not scene.is_hidden(voxels).any()


def test_a_network_that_fills_all_space_does_not_hide_what_the_sensor_sees(engine):
    mapper, _ = mapped(Changed(engine, filled), scene.walk(6))
    occupied = as_dict(*mapper.map.voxel_map.occupied())
    air = [(i, j, k) for i in range(12, 36) for j in range(-3, 4) for k in range(13, 17)]
    assert np.mean([v in occupied for v in air]) < 0.02
    assert len({label for label, _ in occupied.values()} - {255}) > 3


def test_the_same_frames_give_the_same_map(engine):
    assert state(mapped(engine, scene.walk(2))[0]) == state(mapped(engine, scene.walk(2))[0])


def test_the_map_moves_with_the_world(engine):
    shift = np.array([625, -1250, 50])  # cells: 100 m, -200 m, 8 m
    near, _ = mapped(engine, [scene.frame(scene.camera())] * 2)
    far, _ = mapped(engine, [scene.frame(scene.camera(), offset=shift * 0.16)] * 2)
    moved = {tuple(np.add(v, 2 * shift).tolist()): x for v, x in as_dict(*near.map.voxel_map.occupied()).items()}
    other = as_dict(*far.map.voxel_map.occupied())
    assert len(set(moved) ^ set(other)) <= 0.002 * len(moved) and len(moved) > 100


def test_the_lattice_may_begin_elsewhere(engine):
    origin = (0.05, -0.03, 0.02)
    mapper = OccupancyMapper(engine, MapperConfig(), origin)
    for _ in range(2):
        mapper.step(scene.frame(scene.camera(), offset=origin))
    plain, _ = mapped(engine, [scene.frame(scene.camera())] * 2)
    a, b = set(as_dict(*mapper.map.voxel_map.occupied())), set(as_dict(*plain.map.voxel_map.occupied()))
    assert len(a ^ b) <= 0.002 * len(b) and len(b) > 100


@pytest.mark.parametrize("size", [(640, 480), (540, 360), (160, 240), (1280, 720)])
def test_images_of_any_size_are_mapped(engine, size):
    _, updates = mapped(engine, [scene.frame(scene.camera(), size=size)] * 2)
    assert len(updates[0].voxels) + len(updates[1].voxels) > 100
    height, width = updates[0].depth.shape
    assert width / height == pytest.approx(size[0] / size[1], rel=0.02)


def test_depth_may_be_smaller_than_the_image(engine):
    whole = scene.frame(scene.camera(), size=(640, 480))
    small = scene.frame(scene.camera(), size=(320, 240)).depth
    mapper, _ = mapped(engine, [replace(whole, depth=small)] * 2, "topic")
    full, _ = mapped(engine, [whole] * 2, "topic")
    a, b = set(as_dict(*mapper.map.voxel_map.occupied())), set(as_dict(*full.map.voxel_map.occupied()))
    assert len(a & b) > 0.6 * len(b) > 100


def test_one_image_alone_is_mapped_with_the_networks_depth(engine):
    mono, updates = mapped(engine, [scene.frame(scene.camera())], "mono")
    fused, others = mapped(engine, [scene.frame(scene.camera(), with_depth=False)], "fused")
    assert state(mono) == state(fused)
    assert (updates[0].depth > 0).all() and np.array_equal(updates[0].depth, others[0].depth)


def test_topic_without_depth_is_refused_and_the_map_is_as_it_was(engine):
    mapper, _ = mapped(engine, scene.walk(1), "topic")
    before = state(mapper)
    with pytest.raises(FrameError, match="no depth image") as caught:
        mapper.step(scene.frame(scene.camera(), with_depth=False))
    assert caught.value.cause == "no_depth" and state(mapper) == before and mapper.map.sequence == 1


def test_a_network_that_gives_nan_is_refused_and_the_map_is_as_it_was(engine):
    mapper, _ = mapped(engine, scene.walk(1))
    before = state(mapper)

    def spoilt(gaussians):
        means = gaussians.means.copy()
        means[77, 1, 2] = np.nan
        return replace(gaussians, means=means)

    mapper.engine = Changed(engine, spoilt)
    with pytest.raises(FrameError, match="means") as caught:
        mapper.step(scene.walk(2)[1])
    assert caught.value.cause == "network_not_finite" and state(mapper) == before


def test_a_step_that_fails_in_the_splat_is_caught_up_by_the_next(engine, monkeypatch):
    frames = scene.walk(3)
    mapper, updates = mapped(engine, frames[:1])

    def out_of_memory(*_):
        raise MemoryError

    monkeypatch.setattr(voxel_map_module, "splat_blocks", out_of_memory)
    with pytest.raises(MemoryError):
        mapper.step(frames[1])
    assert as_dict(*mapper.map.voxel_map.occupied()) == as_dict(
        updates[0].voxels, updates[0].labels, updates[0].probability
    )
    monkeypatch.undo()
    update = mapper.step(frames[2])
    straight, _ = mapped(engine, frames)
    assert state(mapper) == state(straight) and update.sequence == 2


def test_a_restored_mapper_goes_on_as_if_nothing_had_happened(engine):
    frames = scene.walk(3)
    straight, updates = mapped(engine, frames)
    first, _ = mapped(engine, frames[:2])
    second = OccupancyMapper(engine)
    second.step(scene.frame(scene.camera(yaw=2.0)))
    second.map.restore(first.map.memory.arrays())
    assert state(second) == state(first)
    later = [second.step(f) for f in frames[2:]]
    assert state(second) == state(straight)
    assert np.array_equal(later[-1].voxels, updates[-1].voxels)


def test_a_memory_of_another_model_is_refused_and_the_map_stays(engine):
    mapper, _ = mapped(engine, scene.walk(1))
    before = state(mapper)
    with pytest.raises(DataError, match="opacities"):
        mapper.map.restore({k: v for k, v in mapper.map.memory.arrays().items() if k != "opacities"})
    assert state(mapper) == before


def test_reset_forgets_the_map_and_counts_on(engine):
    mapper, _ = mapped(engine, scene.walk(2))
    mapper.map.reset()
    assert len(mapper.map.memory) == 0 and len(mapper.map.voxel_map.occupied()[0]) == 0
    assert mapper.step(scene.walk(1)[0]).sequence == 3


def test_the_threshold_may_change_between_frames(engine, walked):
    frames = scene.walk(6)
    mapper, _ = mapped(engine, frames[:5])
    mapper.config = replace(mapper.config, occupancy_threshold=0.8)
    mapper.step(frames[5])
    kept = as_dict(*mapper.map.voxel_map.occupied())
    every = as_dict(*walked[0].map.voxel_map.occupied())
    assert 0 < len(kept) < len(every) and all(every[v] == x for v, x in kept.items())
    assert min(p for _, p in kept.values()) >= 13 / 16  # 0.8 rounds to 13/16


def test_nothing_beyond_the_largest_distance_is_mapped(engine):
    mapper = OccupancyMapper(engine, MapperConfig(max_distance=2.0))
    for _ in range(3):
        mapper.step(scene.frame(scene.camera(pitch=0.0), size=(160, 120)))
    voxels = np.concatenate([mapper.map.voxel_map.occupied()[0], mapper.map.voxel_map.free()])
    assert 1.8 < (voxels[:, 0] * 0.08).max() <= 2.0 + 0.08  # a cell reaches one voxel past its centre


NAN = float("nan")
WRONG = [
    ("depth_source", "lidar"),
    ("occupancy_threshold", 0.0),
    ("occupancy_threshold", NAN),
    ("box_below", -1),
    ("max_distance", "x"),
]


@pytest.mark.parametrize("key,value", WRONG)
def test_a_wrong_configuration_names_key_value_and_what_is_allowed(key, value):
    with pytest.raises(ConfigError, match=rf"{key} is {value!r}; it must be"):
        MapperConfig(**{key: value})


def test_fused_depth_fills_the_sensors_holes_with_the_heads_scaled_depth():
    frame = scene.frame(scene.camera())
    camera = depth_source.LetterboxedCamera.of(frame.K, (320, 240), (320, 240))
    true = frame.depth[2::4, 2::4].copy()
    true[:, :5] = 2.0  # the head's depth of the strip without readings
    prior = depth_source.depth_prior("fused", frame, camera, true / 1.7, np.full((60, 80), 0.1, np.float32))
    assert np.array_equal(prior.expert[frame.depth > 0], frame.depth[frame.depth > 0])
    np.testing.assert_allclose(prior.expert[:, :18], 2.0, rtol=0.01)
    near = frame.depth[120, 200]
    assert prior.spread[120, 200] == pytest.approx(0.04 + 0.01 * near**2, rel=1e-5)
    np.testing.assert_allclose(prior.spread[:, :18], 0.17, rtol=0.01)  # the head's, scaled as its depth
    sensor, learned = prior.layers
    assert sensor.is_sensor and not learned.is_sensor
    assert (learned.depth[:, :5] > 0).all() and not learned.depth[:, 5:].any()
    np.testing.assert_allclose(learned.spread, 0.17, rtol=0.01)


def test_the_mapper_runs_without_torch_or_trimesh():
    packages = ("torch", "transformers", "trimesh", "rosbags")
    code = f"import sys, sgrocc_core.mapping.mapper; print([m for m in {packages} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_a_bounded_memory_holds_its_bound_and_the_updates_still_give_the_map(engine):
    """The camera moves 20 m away: with a bound, the voxels of the first room are forgotten and reported as freed."""
    near, away = scene.walk(2), []
    for frame in near:
        T_wc = frame.T_wc.copy()
        T_wc[0, 3] += 20.0
        away.append(replace(frame, T_wc=T_wc, stamp_ns=10**9 + frame.stamp_ns))
    mirror = {}
    mapper = OccupancyMapper(engine, MapperConfig(forget_radius=8.0, max_memory_mb=100.0))
    for update in map(mapper.step, near + away):
        for voxel, value in as_dict(update.voxels, update.labels, update.probability).items():
            if value[0]:
                mirror[voxel] = value
            else:
                del mirror[voxel]
        assert mapper.map.memory.nbytes <= 100e6
    centre = (mapper.map.memory.keys + 0.5) * 1.28
    assert np.linalg.norm(centre - away[-1].T_wc[:3, 3], axis=1).max() <= 8.0
    assert mirror == as_dict(*mapper.map.voxel_map.occupied()) and min(v[0] for v in mirror) * 0.08 > 12


@pytest.mark.parametrize(
    "key,value", [("forget_radius", 3.0), ("forget_radius", -1.0), ("max_memory_mb", 5.0), ("max_memory_mb", True)]
)
def test_bounds_that_leave_no_room_for_a_view_are_refused(key, value):
    with pytest.raises(ConfigError, match=f"{key} is"):
        MapperConfig(**{key: value})
