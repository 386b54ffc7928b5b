"""`sgrocc check`: whether image, intrinsics, depth, poses and stamps of a recording agree with each other."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgrocc_core.commands.map import add_bag_arguments, bag_options
from sgrocc_core.entry_points import offered_modules

if TYPE_CHECKING:
    from sgrocc_core.checks.stream import StreamCheck

HELP = """Check a recording before it is mapped: intrinsics, depth, poses and stamps against each other, in seconds.

Prints a table of what was looked at and every finding with its figures and what to do; writes a picture of three
overlays: edges of the depth on an image, a grid on the floor drawn into an image, and the path of the camera from
above.

  sgrocc check walk.mcap
  sgrocc check rgbd_dataset_freiburg1_room --picture runs/check.png
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "input", nargs="?", default="", metavar="BAG|FOLDER", help="a bag, or a folder of images and poses"
    )
    parser.add_argument("--picture", default="", metavar="FILE", help="where the picture goes (default: no picture)")
    parser.add_argument("--json", default="", metavar="FILE", help="also write the findings to a file")
    for module in offered_modules("sgrocc.checks").values():
        module.add_arguments(parser)
    add_bag_arguments(parser)
    parser.set_defaults(axes="")  # a folder's layout has its own


def run(arguments: argparse.Namespace) -> int:
    """Check the input; exit code 0, or 1 if an error was found."""
    from sgrocc_core.errors import ConfigError

    for module in offered_modules("sgrocc.checks").values():
        if module.is_asked(arguments):
            return report(module.look(arguments), "live", arguments)
    if not arguments.input:
        raise ConfigError("no input is given; name a bag or a folder")
    return report(_look(arguments), arguments.input, arguments)


def _look(arguments: argparse.Namespace) -> StreamCheck:
    from sgrocc_core.checks.recording import look_at_bag
    from sgrocc_core.data.bags import BagReader
    from sgrocc_core.data.recordings.checking import is_recording, look_at_folder
    from sgrocc_core.data.recordings.folder import FolderOptions

    path = Path(arguments.input)
    if is_recording(path):
        return look_at_folder(path, FolderOptions(axes=arguments.axes, skip_bad=True))
    arguments.axes = arguments.axes or "opencv"
    with BagReader(path, bag_options(arguments)) as reader:
        return look_at_bag(reader)


def report(check: StreamCheck, name: str, arguments: argparse.Namespace) -> int:
    """Print the table and the findings and write the files that were asked for; exit code 1 if there is an error."""
    from sgrocc_core.checks.picture import write_picture

    findings = check.findings()
    for label, text in check.table():
        print(f"{label:<18}{text}")
    for finding in findings:
        print(finding)
    if not len(findings):
        print("no findings")
    if arguments.json:
        content: dict[str, Any] = {"input": name, "looked_at": dict(check.table()), "findings": findings.as_list()}
        Path(arguments.json).write_text(json.dumps(content, indent=2) + "\n")
    if arguments.picture:
        write_picture(Path(arguments.picture), check)
        print(f"picture           {arguments.picture}")
    return 1 if findings.worst == "error" else 0
