"""The command line: help, one line per error, exit codes, and no import of torch on a robot."""

import subprocess
import sys
from pathlib import Path

import pytest

from sgrocc_core import __version__
from sgrocc_core.cli import build_parser, find_commands, main
from sgrocc_core.engines.model import FORMAT_VERSION
from tests.samples.recordings.bag_samples import Recipe, write_bag

COMMANDS = tuple(find_commands())
HEAVY = ("torch", "transformers", "trimesh", "onnx", "rerun", "pyarrow", "sgrocc_core.training", "sgrocc_core.network")


def error_of(capsys, *arguments: str) -> str:
    """The line of an error, after checking that it is the only one and that the exit code is 1."""
    assert main([*map(str, arguments)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


def test_the_commands_of_the_product_are_there():
    assert {"bag", "bench", "demo", "eval", "export", "map", "synth", "train", "view"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_all_its_options(command, capsys):
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    assert find_commands()[command].HELP.splitlines()[0][:40] in text.replace("\n", " ")
    parser = build_parser(find_commands())
    choices = next(a for a in parser._actions if a.dest == "command").choices[command]
    assert all(action.help for action in choices._actions)


def test_help_lists_the_commands_and_version_says_the_version(capsys):
    for option, expected in (("--help", "sgrocc map --bag"), ("--version", f"sgrocc {__version__}")):
        with pytest.raises(SystemExit) as done:
            main([option])
        assert done.value.code == 0 and expected in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["map"], ["map", "--bag", "x", "--out", "y", "--depth-source", "lidar"]]
)
def test_wrong_arguments_end_with_code_2_and_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2 and "usage: sgrocc" in capsys.readouterr().err


def test_map_says_what_is_wrong_with_a_bag(tmp_path, capsys):
    out = str(tmp_path / "out")
    (tmp_path / "notes.txt").write_text("no bag")
    no_tf = write_bag(tmp_path / "no_tf", Recipe(camera_frame="webcam"))
    no_info = write_bag(tmp_path / "no_info", Recipe(write_info=False))
    odd = write_bag(tmp_path / "odd", Recipe(encoding="jpeg2000"))
    assert "no such file or folder: /nowhere" in error_of(capsys, "map", "--bag", "/nowhere", "--out", out)
    assert "notes.txt is not a bag" in error_of(capsys, "map", "--bag", tmp_path / "notes.txt", "--out", out)
    assert "frames on /tf: base, camera_optical, map" in error_of(capsys, "map", "--bag", no_tf, "--out", out)
    assert "no camera_info in the bag" in error_of(capsys, "map", "--bag", no_info, "--out", out)
    assert "no colour image topic" in error_of(capsys, "map", "--bag", odd, "--out", out)
    assert not Path(out).exists()


def test_map_says_what_is_wrong_with_a_model(tmp_path, capsys):
    bag = write_bag(tmp_path / "walk")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/model.yaml").write_text("format_version: 0\nname: old\nfiles: {}\n")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn/model.yaml").write_text(
        f"format_version: {FORMAT_VERSION}\nname: torn\nfiles: {{image.onnx: '00'}}\n"
    )
    for model, message in (
        ("huge", "no model named 'huge'"),
        (tmp_path / "old", "format_version 0"),
        (tmp_path / "torn", "is missing"),
    ):
        assert message in error_of(capsys, "map", "--bag", bag, "--out", tmp_path / "out", "--model", model)


def test_wrong_values_name_the_option_and_what_is_allowed(tmp_path, capsys):
    bag = write_bag(tmp_path / "walk")
    assert "every is 0; it must be 1 or more" in error_of(
        capsys, "map", "--bag", bag, "--out", tmp_path / "out", "--every", "0"
    )
    assert "occupancy_threshold" in error_of(
        capsys, "map", "--bag", bag, "--out", tmp_path / "out", "--occupancy-threshold", "2"
    )
    assert "--size is '640'" in error_of(capsys, "bag", "from-synth", "--out", tmp_path / "w", "--size", "640")
    assert "--rate is 0" in error_of(capsys, "demo", "--rate", "0", "--out", tmp_path / "demo")
    assert "--frames is 0" in error_of(capsys, "bench", "step", "--frames", "0")


def test_bag_info_lists_the_topics_and_what_would_be_read(tmp_path, capsys):
    assert main(["bag", "info", str(write_bag(tmp_path / "walk"))]) == 0
    text = capsys.readouterr().out
    assert "/tf_static" in text and "6  sensor_msgs/msg/Image  rgb8" in text
    assert (
        "reads /camera/color/image_raw, /camera/color/camera_info, depth /camera/aligned_depth_to_color/image_raw"
        in text
    )
    assert "frames on /tf: base, camera_optical, map" in text


def test_a_missing_package_is_an_error_with_what_to_do(capsys, monkeypatch):
    def run(arguments):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(find_commands()["bench"], "run", run)
    assert "the Python package 'torch' is not installed; run `make setup-train`" in error_of(capsys, "bench", "startup")


ROBOT_MODULES = (
    "sgrocc_core.mapping.mapper",
    "sgrocc_core.cli",
    "sgrocc_core.map_files.file",
    "sgrocc_core.data.bags",
    "sgrocc_ros.node",
)


@pytest.mark.parametrize("module", ROBOT_MODULES)
def test_a_robot_needs_no_training_package(module):
    program = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_command_is_installed():
    done = subprocess.run(
        [Path(sys.executable).parent / "sgrocc", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"sgrocc {__version__}"
