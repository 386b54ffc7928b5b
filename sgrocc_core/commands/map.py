"""`sgrocc map`: makes a semantic map of a bag, without ROS."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgrocc_core.frame import INPUT_DEPTH_SOURCES, MOTION_DEPTHS, depth_source_of_input

if TYPE_CHECKING:
    from sgrocc_core.data.bags import BagReader
    from sgrocc_core.data.bags.cameras import CamerasReader
    from sgrocc_core.mapping.mapper import MapperConfig

HELP = """Make a semantic map of a bag, without ROS.

Reads any rosbag2 (.mcap, .db3, or the folder of either) or ROS 1 .bag. The bag needs colour images, their camera_info
and the camera's pose on /tf; depth registered to the images improves the map considerably. Topics are found by type;
name them if there are several. Every frame is used, in order, so the same bag always gives the same map.

  sgrocc map --bag walk.mcap --out runs/mine
  sgrocc map --bag tum.bag --depth-source mono --every 5 --out runs/tum
  sgrocc map --bag robot.mcap --image-topic /front/image_raw,/left/image_raw --out runs/both

Several cameras make one map: name their image topics, separated by commas, and likewise (in the same order) other
topics and frames that are not to be found automatically.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--bag", required=True, metavar="PATH", help="the bag: a file or a folder")
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder for map.npz, map.png, report.json and the Gaussians",
    )
    parser.add_argument("--ply", action="store_true", help="write the surface as map.ply, too, for other programs")
    parser.add_argument(
        "--poses",
        default="",
        metavar="FILE",
        help="corrected poses in the map frame, lines `time tx ty tz qx qy qz qw` (s, m), by which the frames move",
    )
    parser.add_argument(
        "--poses-frame", default="", metavar="FRAME", help="frame whose poses these are (default: the camera's)"
    )
    add_bag_arguments(parser)
    add_model_arguments(parser)
    add_precision(parser)
    add_mapper_arguments(parser)
    parser.add_argument("--force", action="store_true", help="map the bag although the checks found errors in it")
    parser.add_argument(
        "--no-progress", action="store_true", help="show no progress bar (never shown without a terminal)"
    )


def add_bag_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options for reading a bag, which several commands share."""
    parser.add_argument(
        "--depth-source",
        choices=INPUT_DEPTH_SOURCES,
        default="fused",
        help="mono: colour only; topic: only images with depth; fused: sensor depth where available (default); cloud: "
        "points of a LiDAR or another camera, projected into the images, where available",
    )
    group = parser.add_argument_group("topics and frames (found automatically unless given)")
    group.add_argument(
        "--image-topic",
        default="",
        metavar="TOPIC",
        help="colour images, raw or compressed; sgrocc map takes those of several cameras, separated by commas",
    )
    group.add_argument("--info-topic", default="", metavar="TOPIC", help="camera_info of the images")
    group.add_argument(
        "--depth-topic", default="", metavar="TOPIC", help="depth registered to the images, raw or compressedDepth"
    )
    group.add_argument(
        "--points-topic", default="", metavar="TOPIC", help="points (PointCloud2) of --depth-source cloud"
    )
    group.add_argument(
        "--cloud-slop",
        type=float,
        default=0.1,
        metavar="S",
        help="maximum time between an image and its points, seconds (default 0.1)",
    )
    group.add_argument(
        "--map-frame",
        default="",
        metavar="FRAME",
        help="frame of the map on /tf, z up (default: map, world, odom, or the root)",
    )
    group.add_argument(
        "--camera-frame",
        default="",
        metavar="FRAME",
        help="optical frame of the camera (default: the images' frame_id)",
    )
    group.add_argument(
        "--depth-scale", type=float, default=0.001, metavar="M", help="metres per unit of 16 bit depth (default 0.001)"
    )
    group.add_argument(
        "--sync-slop",
        type=float,
        default=0.03,
        metavar="S",
        help="maximum time between an image and its depth, seconds (default 0.03)",
    )
    group.add_argument(
        "--rectified",
        choices=("auto", "yes", "no"),
        default="auto",
        help="whether the images are rectified (auto: by name)",
    )
    group.add_argument(
        "--tf-topic",
        default="",
        metavar="TOPIC",
        help="tf topic, if the bag has several robots' (default: the images')",
    )
    group.add_argument(
        "--max-pose-gap",
        type=float,
        default=0.2,
        metavar="S",
        help="maximum time between two transforms that poses are interpolated over, seconds (default 0.2)",
    )
    group.add_argument(
        "--axes",
        choices=("opencv", "opengl", "ros"),
        default="opencv",
        help="axes of the camera's frame in the poses: x right, y down, z forward (opencv, default); y up, z backward "
        "(opengl); x forward, z up (ros)",
    )
    group.add_argument(
        "--depth-registered",
        action="store_true",
        help="depth in another frame than the images' is registered to them all the same",
    )
    group.add_argument(
        "--level", action="store_true", help="turn a tilted world so that its floor is level and z is up"
    )
    group.add_argument("--every", type=int, default=1, metavar="N", help="use every N-th image (default 1: all)")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that choose the model and its runtime."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", default="small", metavar="NAME", help="name of a folder in models/, or a path (default small)"
    )
    group.add_argument(
        "--engine",
        choices=("auto", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "torch"),
        default="auto",
        help="runtime (default auto)",
    )
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="device (default auto)")
    group.add_argument(
        "--threads", type=int, default=0, metavar="N", help="CPU threads of the engine (default 0: all cores)"
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Declare the option that chooses the precision of the layers."""
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "bf16"),
        default="fp32",
        help="of the layers: fp16 needs TensorRT, bf16 OpenVINO and a CPU that has it (default fp32)",
    )


def add_mapper_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the mapper, except `--depth-source`, which is declared with the options of the bag."""
    parser.add_argument(
        "--occupancy-threshold",
        type=float,
        default=0.5,
        metavar="P",
        help="minimum occupancy probability of an occupied voxel (default 0.5)",
    )
    parser.add_argument(
        "--max-distance", type=float, default=4.8, metavar="M", help="maximum depth that is used, metres (default 4.8)"
    )
    parser.add_argument(
        "--motion-depth",
        choices=MOTION_DEPTHS,
        default="stereo",
        help="how the camera's motion corrects the depth of images without sensor depth: not at all, by triangulated "
        "points, or by comparison with earlier images (default: stereo; a model without a stereo network uses tracks)",
    )

    parser.add_argument(
        "--language",
        default="",
        metavar="DIR",
        help="exported image-text model (sgrocc export-language) whose features the Gaussians carry, so that sgrocc "
        "find takes any words (default: none)",
    )


def mapper_config(arguments: argparse.Namespace) -> MapperConfig:
    """MapperConfig from the parsed options."""
    from sgrocc_core.mapping.mapper import MapperConfig

    return MapperConfig(
        depth_source=depth_source_of_input(arguments.depth_source),
        occupancy_threshold=arguments.occupancy_threshold,
        max_distance=arguments.max_distance,
        motion_depth=arguments.motion_depth,
        language=arguments.language,
    )


def bag_options(arguments: argparse.Namespace) -> Any:
    """BagOptions from the parsed options."""
    from dataclasses import fields

    from sgrocc_core.data.bags import BagOptions

    return BagOptions(**{f.name: getattr(arguments, f.name) for f in fields(BagOptions)})


def run(arguments: argparse.Namespace) -> int:
    """Map the bag; exit code 0, or 130 if it was interrupted and what was mapped until then is saved."""
    from contextlib import ExitStack

    from tqdm import tqdm

    from sgrocc_core.checks.findings import Finding, Findings
    from sgrocc_core.checks.recording import look_at_bag
    from sgrocc_core.checks.refusal import refuse_errors
    from sgrocc_core.data.bags.cameras import CamerasReader, options_of_cameras
    from sgrocc_core.data.bags.corrected import CorrectedFrames
    from sgrocc_core.engines.open import open_engine
    from sgrocc_core.map_files.file import MapFolder, SavedMap
    from sgrocc_core.mapping.mapper import OccupancyMapper
    from sgrocc_core.mapping.run import map_frames

    config = mapper_config(arguments)
    folder = MapFolder(arguments.out)
    with ExitStack() as stack:
        bag = stack.enter_context(CamerasReader(arguments.bag, options_of_cameras(bag_options(arguments))))
        engine = open_engine(
            arguments.model, arguments.engine, arguments.device, arguments.threads, arguments.precision
        )
        folder.claim()
        stack.callback(folder.release)
        looks = {name: look_at_bag(reader).findings() for name, reader in bag.readers.items()}
        named = Findings(bag.named(finding, name) for name, found in looks.items() for finding in found)
        findings = refuse_errors(named, arguments.force)
        for reader in bag.readers.values():
            describe(reader)
        print(f"engine  {engine.description}", flush=True)
        mapper = OccupancyMapper(engine, config)
        corrected = CorrectedFrames(bag, Path(arguments.poses), arguments.poses_frame) if arguments.poses else None
        bar = tqdm(
            corrected or bag,
            total=bag.image_count,
            unit="frame",
            disable=True if arguments.no_progress else None,
            dynamic_ncols=True,
        )
        result = map_frames(mapper, bar, lambda frame, update: bag.count_mapped(frame, update.has_source))
        findings.extend(bag.findings())
        findings.extend(Finding("note", "motion_depth", note) for note in result.notes)
        if corrected is not None:
            told = f"{corrected.moved} of {result.frames} frames moved, by {corrected.anchors} corrected poses"
            findings.add(Finding("note", "corrected_poses", told))
        saved = SavedMap.of(mapper.map, bag.map_frame, result.stamp_ns)
        report = build_report(arguments, bag, engine.description, result, saved)
        report["findings"] = findings.as_list()
        files = folder.save(saved, report, ply=arguments.ply)
    print_summary(report, files)
    if result.interrupted:
        print("interrupted: the map holds the frames until then", file=sys.stderr)
        return 130
    return 0


def describe(reader: BagReader) -> None:
    """Print what is read of a camera."""
    chosen = reader.selection
    depth = "none" if chosen.depth is None else f"{chosen.depth.name} ({chosen.depth.count})"
    print(f"image   {chosen.image.name} ({chosen.image.count})")
    print(f"info    {chosen.info.name}")
    print(f"depth   {depth}")
    print(f"pose    {reader.camera_frame} in {reader.map_frame}")


def build_report(
    arguments: argparse.Namespace, bag: CamerasReader, engine: str, result: Any, saved: Any
) -> dict[str, Any]:
    """Contents of report.json of a map."""
    from sgrocc_core.report import class_counts, configuration_of, figure, make_report

    configuration = configuration_of(arguments, "no_progress")
    read = [_read(reader, engine) for reader in bag.readers.values()]
    configuration["read"] = read[0] if len(read) == 1 else read
    figures = {
        "frames_in": figure(bag.received, "frames"), "frames_mapped": figure(result.frames, "frames"),
        "frames_with_depth": figure(result.with_depth, "frames"), **bag.figures(),
        "voxels": figure(len(saved.voxels), "voxels"), "voxels_free": figure(len(saved.free), "voxels"),
        "voxels_by_class": class_counts(saved.labels),
    }  # fmt: skip
    if len(bag.readers) > 1:
        figures["cameras"] = {
            name: {"frames_in": reader.received, "frames_mapped": bag.mapped[name], **reader.counts.figures()}
            for name, reader in bag.readers.items()
        }
    return make_report("map", configuration, figures, result.timings)


def _read(reader: BagReader, engine: str) -> dict[str, Any]:
    chosen = reader.selection
    return {
        "image": chosen.image.name, "info": chosen.info.name, "depth": chosen.depth.name if chosen.depth else None,
        "map_frame": reader.map_frame, "camera_frame": reader.camera_frame, "engine": engine,
    }  # fmt: skip


def print_summary(report: dict[str, Any], files: list[Any]) -> None:
    """Print the result: frames, voxels, timings and files."""
    from sgrocc_core.report import class_table, stage_table

    figures = report["figures"]
    dropped = ", ".join(f"{count} {cause}" for cause, count in figures["dropped"].items()) or "none"
    with_depth = f" ({figures['frames_with_depth']['value']} with depth)" if "frames_with_depth" in figures else ""
    print(
        f"\nframes  {figures['frames_in']['value']} in, "
        f"{figures['frames_mapped']['value']} mapped{with_depth}, dropped: {dropped}"
    )
    for name, of_camera in figures.get("cameras", {}).items():
        lost = ", ".join(f"{count} {cause}" for cause, count in of_camera["dropped"].items()) or "none"
        print(f"  {name}: {of_camera['frames_in']} in, {of_camera['frames_mapped']} mapped, dropped: {lost}")
    for name, what in (("depth_unused", "depth images not used"), ("transforms_refused", "transforms refused")):
        if counts := figures.get(name):
            print(f"{what}: {', '.join(f'{count} {cause}' for cause, count in counts.items())}")
    if alone := figures.get("without_source"):
        print(f"frames with the depth of one image alone: {alone}")
    for finding in report.get("findings", []):
        print(f"{finding['level']}: {finding['message']}. {finding['advice']}".rstrip())
    print(f"voxels  {figures['voxels']['value']:,}: {class_table(figures['voxels_by_class'])}")
    print(stage_table(report["stages"]))
    print("files")
    for file in files:
        print(f"  {file}")
