"""`sgrocc bag`: lists the contents of a bag, and makes bags of generated rooms, ScanNet scans and folders of images."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sgrocc_core.commands._parts.recordings import add_recording_actions, from_frames, from_scannet
from sgrocc_core.commands.map import add_bag_arguments, bag_options

if TYPE_CHECKING:
    from sgrocc_core.data.bags import BagReader

HELP = """Inspect a bag, or make one from a generated room or a recording.

  sgrocc bag info walk.mcap
  sgrocc bag from-synth --seed 7 --frames 120 --out runs/walk
  sgrocc bag from-scannet scene0000_00.sens --every 3 --out runs/scene0000_00
  sgrocc bag from-frames rgbd_dataset_freiburg1_room --out runs/room
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, help="what to do")
    about = "List a bag's topics with their QoS, and what `sgrocc map` would read, or why it cannot."
    info = actions.add_parser("info", help="topics, QoS, frames, and what `sgrocc map` would read", description=about)
    info.add_argument("bag", metavar="PATH", help="the bag: a file or a folder")
    add_bag_arguments(info)
    about = "Write a walk through a generated, furnished room as a rosbag2 (MCAP) with colour, depth and poses."
    synth = actions.add_parser("from-synth", help="a walk through a generated room as a rosbag2", description=about)
    synth.add_argument("--out", required=True, metavar="DIR", help="the bag's folder; it must not exist")
    synth.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the room (default 0)")
    synth.add_argument("--frames", type=int, default=120, metavar="N", help="number of images (default 120)")
    synth.add_argument("--rate", type=float, default=10.0, metavar="HZ", help="images per second (default 10)")
    synth.add_argument("--size", default="640x480", metavar="WxH", help="image size, pixels (default 640x480)")
    add_recording_actions(actions)


def run(arguments: argparse.Namespace) -> int:
    """Run the action; exit code 0, or 3 if the recording is truncated."""
    actions = {"info": _info, "from-synth": _from_synth, "from-scannet": from_scannet, "from-frames": from_frames}
    return actions[arguments.action](arguments)


def _info(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from sgrocc_core.data.bags import BagReader
    from sgrocc_core.data.bags.file import describe_topics, open_reader
    from sgrocc_core.data.bags.topics import listing
    from sgrocc_core.errors import DataError

    reader = open_reader(Path(arguments.bag))
    try:
        topics = describe_topics(reader)
        seconds = reader.duration / 1e9 if reader.message_count else 0.0
    finally:
        reader.close()
    print(f"{arguments.bag}: {sum(t.count for t in topics)} messages, {seconds:.1f} s")
    width = max((len(t.name) for t in topics), default=0)
    for topic in sorted(topics, key=lambda t: t.name):
        qos = f"  ({topic.qos})" if topic.qos else ""
        print(f"  {topic.name:<{width}}  {topic.count:>7}  {topic.kind}  {topic.coding}".rstrip() + qos)
    if not topics:
        raise DataError(listing(topics))
    with BagReader(arguments.bag, bag_options(arguments)) as bag:
        _describe(bag)
    return 0


def _describe(bag: BagReader) -> None:
    """Print the topics that `sgrocc map` would read, the camera, and the number of frames."""
    chosen, camera = bag.selection, bag.calibration
    print(f"frames on /tf: {', '.join(bag.tree.frames())}")
    depth = chosen.depth.name if chosen.depth else "none"
    print(
        f"`sgrocc map` reads {chosen.image.name}, {chosen.info.name}, depth {depth}, "
        f"poses of {bag.camera_frame} in {bag.map_frame}"
    )
    K, lens = camera.K, "with lens distortion" if camera.distortion.size else "no lens distortion"
    print(
        f"camera: {camera.size[0]} x {camera.size[1]} pixels, fx {K[0, 0]:g}, "
        f"fy {K[1, 1]:g}, cx {K[0, 2]:g}, cy {K[1, 2]:g}, {lens}"
    )
    found = bag.outlook()
    rate = f" at {(found.images - 1) / found.seconds:.1f} Hz" if found.seconds else ""
    print(f"frames: {found.images} images{rate}, {found.with_pose} with a pose, {found.with_depth} of them with depth")


def _from_synth(arguments: argparse.Namespace) -> int:
    from sgrocc_core.data.synthetic.bag import write_walk
    from sgrocc_core.data.synthetic.config import parse_size
    from sgrocc_core.errors import ConfigError

    size = parse_size(arguments.size, "--size")
    if min(size) < 64:
        raise ConfigError(f"--size is {arguments.size}; each side must be at least 64 pixels")
    write_walk(arguments.out, seed=arguments.seed, frames=arguments.frames, size=size, rate=arguments.rate)
    print(f"{arguments.frames} frames of room {arguments.seed} in {arguments.out}")
    return 0
