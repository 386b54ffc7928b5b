"""`sgrocc map`: a bag to a semantic map, without ROS."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sgrocc_core.data.bags import BagReader
    from sgrocc_core.mapping.mapper import MapperConfig
    from sgrocc_core.mapping.run import MappingResult

HELP = """Make a semantic map of a bag, without ROS.

Reads any rosbag2 (.mcap, .db3, or the folder of either) or ROS 1 .bag. It needs colour images, their camera_info and
the camera's pose on /tf; depth registered to the images makes the map much better. Topics are found by type; name them
where there are several. Every frame is used, in order, so the same bag gives the same map.

  sgrocc map --bag walk.mcap --out runs/mine
  sgrocc map --bag tum.bag --depth-source mono --every 5 --out runs/tum
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `sgrocc map`."""
    parser.add_argument("--bag", required=True, metavar="PATH", help="the bag: a file or a folder")
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder for map.npz, map.png, map.ply, report.json and the Gaussians",
    )
    add_bag_arguments(parser)
    add_model_arguments(parser)
    add_mapper_arguments(parser)
    parser.add_argument("--no-progress", action="store_true", help="no progress bar (there is none without a terminal)")


def add_bag_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that say how a bag is read; shared by the commands that read one."""
    parser.add_argument("--depth-source", choices=("mono", "topic", "fused"), default="fused",
                        help="mono: colour only; topic: only images with depth; fused: depth where there is some (default)")  # fmt: skip
    group = parser.add_argument_group("topics and frames (found by themselves where not given)")
    group.add_argument("--image-topic", default="", metavar="TOPIC", help="colour images, raw or compressed")
    group.add_argument("--info-topic", default="", metavar="TOPIC", help="camera_info of the images")
    group.add_argument(
        "--depth-topic", default="", metavar="TOPIC", help="depth registered to the images, raw or compressedDepth"
    )
    group.add_argument(
        "--map-frame",
        default="",
        metavar="FRAME",
        help="map's frame on /tf, z up (default: map, world, odom, or the root)",
    )
    group.add_argument(
        "--camera-frame",
        default="",
        metavar="FRAME",
        help="optical frame of the camera (default: the images' frame_id)",
    )
    group.add_argument(
        "--depth-scale", type=float, default=0.001, metavar="M", help="metres a unit of 16 bit depth (default 0.001)"
    )
    group.add_argument(
        "--sync-slop",
        type=float,
        default=0.03,
        metavar="S",
        help="seconds between an image and its depth (default 0.03)",
    )
    group.add_argument(
        "--rectified", choices=("auto", "yes", "no"), default="auto", help="are the images rectified? (auto: by name)"
    )
    group.add_argument("--every", type=int, default=1, metavar="N", help="take each N-th image (default 1: all)")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that choose the model and what runs it."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", default="small", metavar="NAME", help="a name under models/, or a model's folder (default small)"
    )
    group.add_argument(
        "--engine",
        choices=("auto", "onnxruntime", "tensorrt", "torch"),
        default="auto",
        help="what runs it (default auto)",
    )
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where it runs (default auto)")
    group.add_argument(
        "--threads", type=int, default=0, metavar="N", help="CPU threads of the engine (default 0: all cores)"
    )


def add_mapper_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that say how frames are mapped; `--depth-source` is among those of the bag."""
    parser.add_argument(
        "--occupancy-threshold",
        type=float,
        default=0.5,
        metavar="P",
        help="probability that fills a voxel (default 0.5)",
    )
    parser.add_argument(
        "--max-distance", type=float, default=4.8, metavar="M", help="how far depth is trusted, metres (default 4.8)"
    )
    parser.add_argument("--no-motion-depth", dest="motion_depth", action="store_false",
                        help="leave the network's depth as it is, uncorrected by points triangulated from the camera's motion")  # fmt: skip


def mapper_config(arguments: argparse.Namespace) -> MapperConfig:
    """The MapperConfig of a parsed command line."""
    from sgrocc_core.mapping.mapper import MapperConfig

    return MapperConfig(
        depth_source=arguments.depth_source,
        occupancy_threshold=arguments.occupancy_threshold,
        max_distance=arguments.max_distance,
        motion_depth=arguments.motion_depth,
    )


def bag_options(arguments: argparse.Namespace) -> Any:
    """The BagOptions of a parsed command line."""
    from dataclasses import fields

    from sgrocc_core.data.bags import BagOptions

    return BagOptions(**{f.name: getattr(arguments, f.name) for f in fields(BagOptions)})


def run(arguments: argparse.Namespace) -> int:
    """Map the bag; exit code 0."""
    from tqdm import tqdm

    from sgrocc_core.data.bags import BagReader
    from sgrocc_core.engines.open import open_engine
    from sgrocc_core.map_files.file import MapFolder, SavedMap
    from sgrocc_core.mapping.mapper import OccupancyMapper
    from sgrocc_core.mapping.run import map_frames

    config = mapper_config(arguments)
    with BagReader(arguments.bag, bag_options(arguments)) as reader:
        engine = open_engine(arguments.model, arguments.engine, arguments.device, arguments.threads)
        describe(reader, engine.description)
        mapper = OccupancyMapper(engine, config)
        bar = tqdm(
            reader,
            total=reader.image_count,
            unit="frame",
            disable=True if arguments.no_progress else None,
            dynamic_ncols=True,
        )
        result = map_frames(mapper, bar)
        saved = SavedMap.of(mapper.map, reader.map_frame, result.stamp_ns)
        report = build_report(arguments, reader, engine.description, result, saved)
    warn_if_looking_up(reader, result)
    files = MapFolder(arguments.out).save(saved, report)
    print_summary(report, files)
    return 0


def describe(reader: BagReader, engine: str) -> None:
    """Say in a few lines what is read and what runs."""
    chosen = reader.selection
    depth = "none" if chosen.depth is None else f"{chosen.depth.name} ({chosen.depth.count})"
    print(f"image   {chosen.image.name} ({chosen.image.count})")
    print(f"info    {chosen.info.name}")
    print(f"depth   {depth}")
    print(f"pose    {reader.camera_frame} in {reader.map_frame}")
    print(f"engine  {engine}", flush=True)


def warn_if_looking_up(reader: BagReader, result: MappingResult) -> None:
    """Warn where nearly all poses look at the ceiling: they are those of another frame than the optical one."""
    if result.looking_up > 0.9 * result.frames:
        print(f"warning: the z axis of {reader.camera_frame!r} points up in {reader.map_frame!r}; is it the camera's optical frame "
              "(z forward, x right, y down)? Name that one with --camera-frame", file=sys.stderr)  # fmt: skip


def build_report(
    arguments: argparse.Namespace, reader: BagReader, engine: str, result: Any, saved: Any
) -> dict[str, Any]:
    """report.json of a map."""
    from sgrocc_core.report import class_counts, figure, make_report

    configuration = {k: v for k, v in sorted(vars(arguments).items()) if k not in ("command", "no_progress")}
    chosen = reader.selection
    configuration["read"] = {
        "image": chosen.image.name, "info": chosen.info.name, "depth": chosen.depth.name if chosen.depth else None,
        "map_frame": reader.map_frame, "camera_frame": reader.camera_frame, "engine": engine,
    }  # fmt: skip
    figures = {
        "frames_in": figure(reader.received, "frames"), "frames_mapped": figure(result.frames, "frames"),
        "frames_with_depth": figure(result.with_depth, "frames"), "dropped": dict(reader.dropped),
        "voxels": figure(len(saved.voxels), "voxels"), "voxels_free": figure(len(saved.free), "voxels"),
        "voxels_by_class": class_counts(saved.labels),
    }  # fmt: skip
    return make_report("map", configuration, figures, result.timings)


def print_summary(report: dict[str, Any], files: list[Any]) -> None:
    """What came out, for people."""
    from sgrocc_core.report import class_table, stage_table

    figures = report["figures"]
    dropped = ", ".join(f"{count} {cause}" for cause, count in figures["dropped"].items()) or "none"
    with_depth = f" ({figures['frames_with_depth']['value']} with depth)" if "frames_with_depth" in figures else ""
    print(
        f"\nframes  {figures['frames_in']['value']} in, {figures['frames_mapped']['value']} mapped{with_depth}, dropped: {dropped}"
    )
    print(f"voxels  {figures['voxels']['value']:,}: {class_table(figures['voxels_by_class'])}")
    print(stage_table(report["stages"]))
    print("files")
    for file in files:
        print(f"  {file}")
