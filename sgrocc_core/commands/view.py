"""`sgrocc view`: shows a bag while it is mapped, or a saved map, in Rerun's viewer or in a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sgrocc_core.commands.map import (
    add_bag_arguments,
    add_mapper_arguments,
    add_model_arguments,
    add_precision,
    bag_options,
    describe,
    mapper_config,
)

if TYPE_CHECKING:
    import rerun as rr

    from sgrocc_core.frame import Frame
    from sgrocc_core.mapping.mapper import MapUpdate

HELP = """Show a bag while it is mapped, or a saved map, in Rerun.

A bag is mapped as by `sgrocc map`. On the recording's own time line the viewer shows the camera and its path, the
images, the depth that was used, the voxels by class as they appear and disappear, and the Gaussians in view. A map
(a folder saved by the node or `sgrocc map`) is shown with its voxels by class, free space and Gaussians. Whether PATH
is a bag or a map is detected from its contents. Needs the package rerun-sdk: `make setup-view`.

  sgrocc view walk.mcap                                   opens the viewer
  sgrocc view walk.mcap --save runs/walk.rrd              writes a file, on machines without a display
  sgrocc view runs/demo
"""
MOST_IN_VIEW, MOST_OF_MAP = 2000, 50_000
"""Default number of Gaussians drawn per frame, and of a saved map."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("path", metavar="PATH", help="a bag (file or folder), or a map (its folder or map.npz)")
    parser.add_argument(
        "--save",
        metavar="FILE.rrd",
        help="write this file instead of opening the viewer; an existing file is replaced",
    )
    parser.add_argument(
        "--max-gaussians",
        type=int,
        default=-1,
        metavar="N",
        help=f"draw the N most opaque (default {MOST_IN_VIEW} per frame, {MOST_OF_MAP} of a map; 0: none)",
    )
    _add_options_of_bags(parser)
    parser.add_argument(
        "--no-progress", action="store_true", help="show no progress bar (never shown without a terminal)"
    )


def _add_options_of_bags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-frames", type=int, default=0, metavar="N", help="map only the first N frames of the bag (default 0: all)"
    )
    add_bag_arguments(parser)
    add_model_arguments(parser)
    add_precision(parser)
    add_mapper_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show or write; exit code 0."""
    import signal
    import sys

    import rerun  # noqa: F401  # first, so that a missing package is reported at once

    from sgrocc_core.errors import ConfigError
    from sgrocc_core.viewing.kind import kind_of
    from sgrocc_core.viewing.sinks import ViewerClosedError, check_display

    if arguments.max_frames < 0:
        raise ConfigError(f"--max-frames is {arguments.max_frames}; it must be 1 or more, or 0 for all frames")
    if arguments.max_gaussians < -1:
        raise ConfigError(f"--max-gaussians is {arguments.max_gaussians}; it must be 0 or more")
    if arguments.save is None:
        check_display()
    elif not arguments.save.endswith(".rrd") or Path(arguments.save).is_dir():
        raise ConfigError(f"--save is {arguments.save!r}; it must be a file that ends in .rrd")
    path = Path(arguments.path)
    show = _show_map if kind_of(path) == "map" else _show_bag
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the file is completed
    try:
        show(arguments, path)
    except ViewerClosedError:
        print("the viewer was closed")
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _show_map(arguments: argparse.Namespace, path: Path) -> None:
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.map_files.file import load_map
    from sgrocc_core.viewing.log import log_map

    unfit = _options_of_bags(arguments)
    if unfit:
        raise ConfigError(f"{path} is a map, which is not mapped again; {', '.join(unfit)} must be left out")
    saved = load_map(path)
    with _recording(arguments, path) as (stream, _):
        drawn = log_map(stream, saved, path, MOST_OF_MAP if arguments.max_gaussians < 0 else arguments.max_gaussians)
    print(f"{len(saved.voxels):,} voxels, {len(saved.free):,} free, {drawn:,} Gaussians of {path}{_where(arguments)}")


def _show_bag(arguments: argparse.Namespace, path: Path) -> None:
    from itertools import islice

    from tqdm import tqdm

    from sgrocc_core.checks.recording import look_at_bag
    from sgrocc_core.data.bags import BagReader
    from sgrocc_core.engines.open import open_engine
    from sgrocc_core.mapping.mapper import OccupancyMapper
    from sgrocc_core.mapping.run import map_frames
    from sgrocc_core.viewing.log import MapLog

    config, most = mapper_config(arguments), MOST_IN_VIEW if arguments.max_gaussians < 0 else arguments.max_gaussians
    with BagReader(path, bag_options(arguments)) as reader:
        for finding in look_at_bag(reader).findings():
            print(finding, file=sys.stderr)
        engine = open_engine(
            arguments.model, arguments.engine, arguments.device, arguments.threads, arguments.precision
        )
        describe(reader)
        print(f"engine  {engine.description}", flush=True)
        mapper = OccupancyMapper(engine, config)
        total = min(reader.image_count, arguments.max_frames or reader.image_count)
        bar = tqdm(
            reader, total=total, unit="frame", disable=True if arguments.no_progress else None, dynamic_ncols=True
        )
        try:
            with _recording(arguments, path) as (stream, check):
                log = MapLog(stream, mapper, most, watched=arguments.save is None)

                def watch(frame: Frame, update: MapUpdate) -> None:
                    log.frame(frame, update)
                    check()

                try:
                    result = map_frames(mapper, islice(bar, arguments.max_frames or None), watch)
                    if result.interrupted:
                        raise KeyboardInterrupt
                finally:
                    log.end()
        except (KeyboardInterrupt, SystemExit):
            print(f"\n{mapper.map.sequence} frames were mapped{_where(arguments)}", flush=True)
            raise
        dropped = ", ".join(f"{count} {cause}" for cause, count in reader.dropped.items()) or "none"
        print(
            f"{result.frames} frames mapped, dropped: {dropped}; {mapper.map.voxel_map.occupied_count:,} "
            f"voxels{_where(arguments)}"
        )


@contextmanager
def _recording(arguments: argparse.Namespace, path: Path) -> Iterator[tuple[rr.RecordingStream, Callable[[], None]]]:
    """The recording stream, and a function that raises once the viewer or file can no longer take data."""
    from sgrocc_core.viewing.sinks import Viewer, to_file, to_viewer

    name = path.absolute().name
    if arguments.save is not None:
        with to_file(Path(arguments.save), name) as (stream, check):
            yield stream, check
    else:
        viewer = Viewer()
        with to_viewer(viewer, name) as stream:
            yield stream, viewer.check


def _where(arguments: argparse.Namespace) -> str:
    """Location and size of the file that was written, and how to open it."""
    file = Path(arguments.save or "")
    return f"\n{file} ({file.stat().st_size / 1e6:.1f} MB); open it with `rerun {file}`" if file.is_file() else ""


def _options_of_bags(arguments: argparse.Namespace) -> list[str]:
    """Given options that apply only to bags."""
    parser = argparse.ArgumentParser()
    _add_options_of_bags(parser)
    options = {action.dest: action.option_strings[0] for action in parser._actions if action.dest != "help"}
    return [option for name, option in options.items() if getattr(arguments, name) != parser.get_default(name)]
