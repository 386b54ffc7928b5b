"""`sgrocc export-map`: writes a saved map as a file of another program."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sgrocc_core.map_files.exports import Slab

KINDS = ("ply", "pcd", "bt", "glb", "nav2", "npz")
HELP = """Write a saved map as a file of another program.

  ply    mesh of the voxels' outer faces, with colour and label      MeshLab, Blender, CloudCompare
  pcd    centres of the occupied voxels with colour and label        PCL, CloudCompare
  bt     OctoMap's binary octree, occupied and free space            OctoMap, MoveIt
  glb    glTF, one mesh and material per class (needs trimesh)       Blender, browsers, game engines
  nav2   picture and YAML file of the slab above the floor           Nav2's map server
  npz    dense arrays labels, probability, free, and their corner    NumPy

  sgrocc export-map runs/mine --format bt
  sgrocc export-map runs/mine --format nav2 --out maps/office.pgm --max-height 1.2
  sgrocc export-map runs/mine --format glb --classes chair,table,sofa
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("map", metavar="MAP", help="a map: its folder or map.npz")
    parser.add_argument("--format", required=True, choices=KINDS, help="see above")
    parser.add_argument(
        "--out", metavar="FILE", help="file to write or replace (default: the folder's name in the current folder)"
    )
    parser.add_argument("--classes", default="", metavar="NAMES", help="only these classes, separated by commas")
    group = parser.add_argument_group("the slab of nav2, as of the node's ~/grid")
    group.add_argument("--min-height", type=float, metavar="M", help="lower end above the floor (default 0.15)")
    group.add_argument("--max-height", type=float, metavar="M", help="upper end above the floor (default 1.8)")
    group.add_argument("--floor-height", type=float, metavar="M", help="height of the floor (default: estimated)")


def run(arguments: argparse.Namespace) -> int:
    """Export, and print the files; exit code 0."""
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.map_files.exports import FORMATS, of_classes, write_export
    from sgrocc_core.map_files.format import load_map

    suffix = FORMATS[arguments.format].suffix
    source = Path(arguments.map)
    name = (source if source.is_dir() else source.parent).resolve().name or "map"  # none of the root folder
    path = Path(arguments.out or f"{name}{suffix}")
    if path.suffix != suffix:
        raise ConfigError(f"--out is {arguments.out!r}; with --format {arguments.format} it must end in {suffix}")
    if path.is_dir():
        raise ConfigError(f"--out is {arguments.out!r}, which is a folder; it must be a file")
    slab = _slab(arguments)
    saved = load_map(source)
    if path.exists() and path.resolve() == (source / "map.npz" if source.is_dir() else source).resolve():
        raise ConfigError(f"--out is {str(path)!r}, the map itself; it must be another file")
    if arguments.classes:
        saved = of_classes(saved, [name.strip() for name in arguments.classes.split(",")])
    for file in write_export(saved, arguments.format, path, slab):
        print(f"{file}  {file.stat().st_size / 1e6:.2f} MB")
    print(f"{len(saved.voxels):,} occupied and {len(saved.free):,} free voxels of {arguments.map}")
    return 0


def _slab(arguments: argparse.Namespace) -> Slab:
    """The slab of the options, checked."""
    import math

    from sgrocc_core.errors import ConfigError
    from sgrocc_core.geometry.lattice import VOXEL_SIZE
    from sgrocc_core.map_files import exports

    given = {"--min-height": arguments.min_height, "--max-height": arguments.max_height}
    given["--floor-height"] = arguments.floor_height
    for option, value in given.items():
        if value is not None and arguments.format != "nav2":
            raise ConfigError(f"{option} is only for --format nav2; leave it out with {arguments.format}")
        if value is not None and not math.isfinite(value):
            raise ConfigError(f"{option} is {value}; it must be a finite number of metres")
    low = exports.Slab.low if arguments.min_height is None else arguments.min_height
    high = exports.Slab.high if arguments.max_height is None else arguments.max_height
    if high < low + VOXEL_SIZE:
        raise ConfigError(
            f"--max-height is {high}; it must be at least {VOXEL_SIZE} above --min-height, which is {low}"
        )
    return exports.Slab(low, high, arguments.floor_height)
