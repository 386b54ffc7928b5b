"""`sgrocc view`: a recording read back by Rerun, the data sent to a viewer, and the file left by a stopped run."""

import fcntl
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import termios
import time
import warnings
from itertools import pairwise

import cv2
import numpy as np
import pytest

pytest.importorskip("rerun", reason="rerun-sdk is not installed: make setup-view")
import rerun.chunk

from sgrocc_core.classes import NAMES, UNKNOWN, color_table
from sgrocc_core.cli import main
from sgrocc_core.data.bags import BagReader
from sgrocc_core.map_files.file import load_map

VIEW = [sys.executable, "-m", "sgrocc_core.cli", "view"]


class Recording:
    """A .rrd file read by Rerun: rows by entity and component, in the order of the frames."""

    def __init__(self, path):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a file without its end is a warning
            self.reader = rerun.chunk.RrdReader(path)
        self.rows = {}
        self.times = {}
        for chunk in self.reader.stream():
            batch = chunk.to_record_batch()
            frames = batch.column("frame").to_pylist() if "frame" in batch.schema.names else [0] * batch.num_rows
            if "stamp" in batch.schema.names:
                self.times.update(zip(frames, batch.column("stamp").cast("int64").to_pylist()))
            for name in batch.schema.names:
                if ":" in name:
                    rows = zip(frames, batch.column(name).to_pylist())
                    self.rows.setdefault((chunk.entity_path.lstrip("/"), name), []).extend(
                        r for r in rows if r[1] is not None
                    )
        for rows in self.rows.values():
            rows.sort(key=lambda row: row[0])

    def all(self, entity, component):
        return [value for _, value in self.rows[entity, component]]

    def last(self, entity, component):
        return np.array(self.all(entity, component)[-1])

    def entities(self, under):
        return sorted({entity for entity, _ in self.rows if entity.startswith(under)})

    def voxels(self):
        """Labels of the last state by voxel, from the centres of the boxes; asserts that no voxel is in two boxes."""
        found = {}
        for entity in self.entities("map/voxels/"):
            centres, labels = self.last(entity, "Boxes3D:centers"), self.last(entity, "Boxes3D:class_ids")
            assert len(centres) == len(labels) == len(self.last(entity, "Boxes3D:half_sizes"))
            for voxel, label in zip(np.rint(centres.reshape(-1, 3) / 0.08 - 0.5).astype(int).tolist(), labels.tolist()):
                assert tuple(voxel) not in found and entity.split("/")[2] == (
                    NAMES[label] if label < UNKNOWN else "unknown"
                )
                found[tuple(voxel)] = label
        return found


def voxels_of(saved):
    return dict(zip(map(tuple, saved.voxels.tolist()), saved.labels.tolist()))


@pytest.fixture(scope="module")
def mapped(model, walk, tmp_path_factory):
    out = tmp_path_factory.mktemp("maps") / "walk"
    assert main(["map", "--bag", str(walk), "--model", model, "--out", str(out), "--no-progress"]) == 0
    return out


@pytest.fixture(scope="module")
def file_of_bag(model, walk, tmp_path_factory):
    file = tmp_path_factory.mktemp("recordings") / "new/walk.rrd"
    assert (
        main(["view", str(walk), "--model", model, "--save", str(file), "--max-gaussians", "150", "--no-progress"]) == 0
    )
    assert [p.name for p in file.parent.iterdir()] == ["walk.rrd"]
    return file


@pytest.fixture(scope="module")
def of_bag(file_of_bag):
    return Recording(file_of_bag)


@pytest.fixture(scope="module")
def file_of_map(mapped, tmp_path_factory):
    file = tmp_path_factory.mktemp("recordings") / "map.rrd"
    assert main(["view", str(mapped), "--save", str(file)]) == 0
    return file


@pytest.fixture(scope="module")
def of_map(file_of_map):
    return Recording(file_of_map)


@pytest.fixture(scope="module")
def frames(walk):
    with BagReader(walk) as reader:
        return list(reader)


def test_the_last_voxels_of_a_bag_are_those_of_its_map(of_bag, mapped):
    assert of_bag.voxels() == voxels_of(load_map(mapped)) and len(of_bag.voxels()) > 1000


def test_the_map_grows_and_only_what_changed_is_logged_again(of_bag):
    first = {e for e in of_bag.entities("map/voxels/") if of_bag.rows[e, "Boxes3D:centers"][0][0] == 0}
    everything = of_bag.entities("map/voxels/")
    assert 0 < len(first) < len(everything)
    for entity in everything:
        states = [sorted(map(tuple, state)) for state in of_bag.all(entity, "Boxes3D:centers")]
        assert all(a != b for a, b in pairwise(states))


def test_classes_have_the_names_and_colours_of_the_class_table(of_bag, of_map):
    for recording in (of_bag, of_map):
        ((context,),) = recording.all("map", "AnnotationContext:context")
        known = {entry["class_id"]: entry["class_description"]["info"] for entry in context}
        assert set(known) == {*range(1, len(NAMES)), UNKNOWN}
        for label, info in known.items():
            assert info["label"] == (NAMES[label] if label < UNKNOWN else "unknown")
            assert [info["color"] >> shift & 255 for shift in (24, 16, 8, 0)] == [*color_table()[label].tolist(), 255]


def test_the_path_has_a_point_a_frame_and_grows_by_one(of_bag, frames):
    (path,) = of_bag.entities("map/path/")
    strips = of_bag.all(path, "LineStrips3D:strips")
    assert [len(strip[0]) for strip in strips] == list(range(1, 13))
    np.testing.assert_allclose(strips[-1][0], [f.T_wc[:3, 3] for f in frames], atol=1e-5)


def test_every_frame_has_its_stamp_and_number(of_bag, frames):
    assert of_bag.times == {n: frame.stamp_ns for n, frame in enumerate(frames)}


def test_the_camera_stands_where_the_bag_says_and_projects_as_its_lens(of_bag, frames):
    for n, frame in enumerate(frames):
        R = np.array(of_bag.all("map/camera", "Transform3D:mat3x3")[n]).reshape(3, 3).T  # columns first
        np.testing.assert_allclose(R, frame.T_wc[:3, :3], atol=1e-6)
        np.testing.assert_allclose(
            of_bag.all("map/camera", "Transform3D:translation")[n][0], frame.T_wc[:3, 3], atol=1e-5
        )
    K = of_bag.last("map/camera/image", "Pinhole:image_from_camera").reshape(3, 3).T
    point = np.array([0.3, -0.2, 2.0])
    ours, theirs = frames[-1].K @ point / point[2], K @ point / point[2]
    np.testing.assert_allclose(theirs[:2], ours[:2] + 0.5, atol=1e-3)  # the first pixel's centre is (0.5, 0.5) in Rerun
    assert of_bag.last("map/camera/image", "Pinhole:resolution").ravel().tolist() == [320, 240]
    assert of_bag.last("map/camera/image", "Pinhole:camera_xyz").ravel().tolist() == [3, 2, 5]  # right, down, forward


def test_image_and_depth_are_those_of_the_frame(of_bag, frames):
    def decode(entity, component):
        data = np.array(of_bag.all(entity, component)[5], np.uint8).ravel()
        return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)

    image = cv2.cvtColor(decode("map/camera/image", "EncodedImage:blob"), cv2.COLOR_BGR2RGB)
    assert np.abs(image.astype(int) - frames[5].image).mean() < 6
    depth = (
        decode("map/camera/depth", "EncodedDepthImage:blob")
        / of_bag.last("map/camera/depth", "EncodedDepthImage:meter")[0]
    )
    assert depth.shape == (240, 320)
    measured = frames[5].depth > 0
    assert np.median(np.abs(depth - frames[5].depth)[measured]) < 0.002


def test_gaussians_in_view_are_bounded_and_lie_before_the_camera(of_bag, frames):
    for n, frame in enumerate(frames):
        means = np.array(of_bag.all("map/gaussians", "Ellipsoids3D:centers")[n])
        assert len(means) == 150
        camera = (means - frame.T_wc[:3, 3]) @ frame.T_wc[:3, :3]
        assert (camera[:, 2] > 0).all() and (camera[:, 2] < 4.8 + 0.3).all()  # cells reach a little farther
    half = of_bag.last("map/gaussians", "Ellipsoids3D:half_sizes")
    assert (half > 0.0199).all() and (half < 0.0801).all()
    assert set(of_bag.last("map/gaussians", "Ellipsoids3D:class_ids").tolist()) <= set(range(1, 12))


def test_z_is_up_and_a_blueprint_comes_along(of_bag, of_map):
    for recording in (of_bag, of_map):
        assert recording.last("map", "ViewCoordinates:xyz").ravel().tolist() == [3, 5, 1]  # right, forward, up
        (blueprint,) = recording.reader.blueprints()
        views = set()
        for chunk in recording.reader.stream(store=blueprint):
            batch = chunk.to_record_batch()
            if "ViewBlueprint:class_identifier" in batch.schema.names:
                views.update(value[0] for value in batch.column("ViewBlueprint:class_identifier").to_pylist())
        assert "3D" in views and (("2D" in views) if recording is of_bag else ("TextDocument" in views))


def test_a_saved_map_is_shown_as_it_is(of_map, mapped):
    saved = load_map(mapped)
    assert of_map.voxels() == voxels_of(saved)
    free = np.rint(of_map.last("map/free", "Points3D:positions") / 0.08 - 0.5).astype(int)
    assert sorted(map(tuple, free.tolist())) == sorted(map(tuple, saved.free.tolist()))
    (text,) = of_map.last("about", "TextDocument:text")
    assert f"{len(saved.voxels):,} occupied voxels" in text and '"command": "map"' in text
    opacity = 1 / (1 + np.exp(-saved.gaussians["opacities"]))
    assert len(of_map.last("map/gaussians", "Ellipsoids3D:centers")) == (opacity >= 0.25).sum() > 500
    assert of_map.times == {0: saved.stamp_ns}


def test_the_map_of_a_file_instead_of_its_folder_is_the_same(of_map, mapped, tmp_path):
    assert main(["view", str(mapped / "map.npz"), "--save", str(tmp_path / "m.rrd"), "--max-gaussians", "0"]) == 0
    again = Recording(tmp_path / "m.rrd")
    assert again.voxels() == of_map.voxels() and len(again.last("map/gaussians", "Ellipsoids3D:centers")) == 0


def test_only_the_first_frames_when_asked(model, walk, tmp_path, capsys):
    arguments = [
        "view",
        str(walk),
        "--model",
        model,
        "--save",
        str(tmp_path / "w.rrd"),
        "--max-frames",
        "3",
        "--no-progress",
    ]
    assert main(arguments) == 0
    assert "3 frames mapped, dropped: none" in capsys.readouterr().out
    assert sorted(Recording(tmp_path / "w.rrd").times) == [0, 1, 2]


def test_a_long_path_is_logged_in_pieces_that_meet(monkeypatch, model, walk, tmp_path, frames):
    monkeypatch.setattr("sgrocc_core.viewing.log.PATH_PIECE", 2)
    given = ["--model", model, "--save", str(tmp_path / "w.rrd"), "--max-frames", "6", "--no-progress"]
    assert main(["view", str(walk), *given]) == 0
    recording = Recording(tmp_path / "w.rrd")
    pieces = [recording.all(f"map/path/{n}", "LineStrips3D:strips")[-1][0] for n in range(3)]
    assert [len(piece) for piece in pieces] == [3, 3, 2]
    assert pieces[0][-1] == pieces[1][0] and pieces[1][-1] == pieces[2][0]
    points = pieces[0] + pieces[1][1:] + pieces[2][1:]
    np.testing.assert_allclose(points, [f.T_wc[:3, 3] for f in frames[:6]], atol=1e-5)


def rows_received(file):
    """Number of rows by entity of a recording that is still being received."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has no end yet
        try:
            return {chunk.entity_path.lstrip("/"): chunk.num_rows for chunk in rerun.chunk.RrdReader(file).stream()}
        except RuntimeError:
            return {}


def test_the_viewer_is_sent_what_a_file_would_hold(mapped, of_map, tmp_path):
    from sgrocc_core.viewing.log import log_map
    from sgrocc_core.viewing.sinks import Viewer, to_viewer

    viewer = Viewer(["--save", str(tmp_path / "received.rrd")])  # Rerun's own receiver, without a window
    try:
        with to_viewer(viewer, "walk") as stream:
            log_map(stream, load_map(mapped), mapped, 100)
        wanted, end = set(of_map.entities("")), time.monotonic() + 30
        while not wanted <= set(rows_received(tmp_path / "received.rrd")) and time.monotonic() < end:
            time.sleep(0.2)  # data is written a little later than it arrives
    finally:
        viewer.process.terminate()
        viewer.process.wait(30)
    assert set(rows_received(tmp_path / "received.rrd")) == wanted


def test_a_viewer_that_was_closed_ends_the_command_quietly(tmp_path):
    from sgrocc_core.viewing.sinks import Viewer, ViewerClosedError

    with pytest.raises(ViewerClosedError):
        Viewer(["--version"])  # ends by itself, with exit code 0, as when the window is closed


@pytest.mark.parametrize("stop", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_stopped_run_leaves_a_whole_file_of_the_frames_until_then(stop, model, walk, tmp_path):
    file = tmp_path / "walk.rrd"
    terminal, theirs = os.openpty()  # the progress bar needs a terminal
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [*VIEW, str(walk), "--model", model, "--save", str(file), "--threads", "1"], stderr=theirs
    )
    os.close(theirs)
    try:
        seen = b""
        while not re.search(rb"\b[2-9]/12 ", seen):
            seen += os.read(terminal, 1000)  # OSError at its end
        process.send_signal(stop)
        process.wait(60)
    finally:
        process.kill()
        os.close(terminal)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[stop]
    assert [p.name for p in tmp_path.iterdir()] == ["walk.rrd"]
    assert 2 <= len(Recording(file).times) < 12


def test_a_full_disk_is_an_error_and_leaves_what_was_there(file_of_map, mapped, tmp_path):
    file = tmp_path / "m.rrd"
    file.write_text("of before")
    size = file_of_map.stat().st_size
    for room in (size // 2, size - 200):
        limit = lambda room=room: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))  # noqa: E731
        done = subprocess.run(
            [*VIEW, str(mapped), "--save", str(file)], capture_output=True, text=True, timeout=120, preexec_fn=limit
        )
        assert (
            done.returncode == 1
            and done.stderr.startswith(f"error: cannot write {file}: ")
            and done.stderr.count("\n") == 1
        )
        assert file.read_text() == "of before" and len(list(tmp_path.iterdir())) == 1


def view(*arguments, **environment):
    bare = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET")}
    done = subprocess.run(
        [*VIEW, *map(str, arguments)], env=bare | environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stderr


def test_errors_are_one_sentence_with_what_is_allowed(mapped, walk, tmp_path, capsys):
    def error_of(*arguments):
        assert main(["view", *map(str, arguments)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    out = ("--save", tmp_path / "x.rrd")
    assert "no such file or folder: /nowhere; allowed are a bag" in error_of("/nowhere", *out)
    assert "is neither a bag nor a map; allowed are a bag" in error_of(tmp_path, *out)
    assert "must be a file that ends in .rrd" in error_of(walk, "--save", tmp_path / "x.mcap")
    assert "--max-frames is -2; it must be 1 or more" in error_of(walk, *out, "--max-frames", "-2")
    assert "--max-gaussians is -2" in error_of(walk, *out, "--max-gaussians", "-2")
    unfit = error_of(mapped, *out, "--every", "2", "--model", "x")
    assert "is a map, which is not mapped again; --every, --model must be left out" in unfit
    assert "no model named 'huge'" in error_of(walk, *out, "--model", "huge")
    assert list(tmp_path.iterdir()) == []


def test_without_a_display_the_error_says_what_to_do_instead(mapped):
    code, error = view(mapped)
    assert code == 1
    assert error == (
        "error: there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set); "
        "write a file with --save FILE.rrd instead, and open it where there is a screen\n"
    )


def test_a_viewer_that_cannot_open_its_window_is_reported_in_its_own_words(mapped):
    code, error = view(mapped, DISPLAY=":1234")
    assert code == 1 and error.startswith("error: the viewer ended with exit code 1: ") and error.count("\n") == 1
    assert "Failed to open connection to X server" in error and "--save FILE.rrd" in error


def test_without_the_package_the_error_says_what_to_install(mapped, tmp_path):
    hidden = "import sys; sys.modules['rerun'] = None; from sgrocc_core.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", hidden, "view", str(mapped)], capture_output=True, text=True, check=False, timeout=120
    )
    expected = (
        "error: the Python package 'rerun' is not installed; "
        "run `make setup-view`, or `pip install -r requirements/view.txt`\n"
    )
    assert (done.returncode, done.stderr) == (1, expected)


def test_switched_off_by_the_environment_is_an_error(mapped, tmp_path):
    code, error = view(mapped, "--save", tmp_path / "m.rrd", RERUN="off")
    assert code == 1 and "error: Rerun is switched off: the environment variable RERUN is 'off'" in error
    assert not list(tmp_path.iterdir())
