"""`sgrocc synth`: generates rooms with exact labels as training, test or held-out data."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sgrocc_core.data.synthetic.write import SynthConfig

HELP = """Generate furnished rooms: images, depth, 2D labels and exact voxel labels.

The set has the layout of Occ-ScanNet and, with --embodied, also of EmbodiedOcc-ScanNet; see docs/data.md.
An interrupted run is resumed by starting it again.

  sgrocc synth --scenes 400 --frames 40 --size 320x240 --out data/train
  sgrocc synth --config config/synth/heldout.yaml --out data/heldout
  sgrocc synth --dynamic --scenes 10 --size 320x240 --out data/dynamic
  sgrocc synth --prompt "a small bedroom with a double bed, two chairs and a tv on the wall" --out data/asked
  sgrocc synth --assets /usr/share/sweethome3d/furniture --scenes 400 --size 320x240 --out data/furnished
"""

_KEYS = (
    "scenes",
    "frames",
    "seed",
    "split",
    "jobs",
    "first",
    "embodied",
    "dynamic",
    "video",
    "size",
    "assets",
    "edition",
    "prompt",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options. Options that are not given come from --config, or have their default."""
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write; complete scenes in it are kept")
    parser.add_argument(
        "--config", metavar="YAML", help="configuration file, such as config/synth/heldout.yaml; options override it"
    )
    parser.add_argument("--scenes", type=int, metavar="N", help="number of rooms (default 20)")
    parser.add_argument("--frames", type=int, metavar="M", help="frames per room (default 40)")
    parser.add_argument("--seed", type=int, metavar="S", help="the same seed gives the same rooms (default 0)")
    parser.add_argument(
        "--first", type=int, metavar="I", help="index of the first room, to extend a set later (default 0)"
    )
    parser.add_argument("--size", metavar="WxH", help="image size in pixels (default 640x480)")
    parser.add_argument(
        "--split",
        choices=("train", "test"),
        help="lists that name the rooms; the two never share a room (default train)",
    )
    parser.add_argument("--jobs", type=int, metavar="J", help="number of processes (default 2)")
    parser.add_argument(
        "--embodied",
        action="store_true",
        default=None,
        help="also write the EmbodiedOcc-ScanNet layout (about 0.5 MB more per frame)",
    )
    parser.add_argument(
        "--dynamic",
        action="store_true",
        default=None,
        help="changing scenes: a chair is removed or added, a door opens, a person passes (at least 100 frames, "
        "default 160)",
    )
    parser.add_argument(
        "--assets",
        metavar="DIR",
        help="furniture models beside the primitives: Debian's sweethome3d-furniture, or OBJ and GLB files with "
        "assets.csv; see docs/data.md",
    )
    parser.add_argument(
        "--edition",
        type=int,
        metavar="V",
        help="edition of the rooms: 1, like the committed held-out rooms, or 2, closer to photographs of real rooms, "
        "or 0 for both in turn (default 1)",
    )
    parser.add_argument(
        "--prompt",
        metavar="SENTENCE",
        help="make the rooms (default 1) that an English sentence describes; what it could not hold is said; see "
        "docs/data.md",
    )
    parser.add_argument(
        "--video",
        action="store_true",
        default=None,
        help="frames as close together as in a video (2 to 10 cm), for stereo from motion",
    )


def run(args: argparse.Namespace) -> int:
    """Generate; exit code 0."""
    from sgrocc_core.data.synthetic.config import read_config
    from sgrocc_core.data.synthetic.write import write_scenes

    options = {key: getattr(args, key) for key in _KEYS if getattr(args, key) is not None}
    config = read_config(args.config, args.out, options)
    if config.prompt is not None:
        return _run_prompt(config)
    if config.assets is None:
        print("furniture of primitives only; --assets DIR adds models (docs/data.md)")
    frames = write_scenes(config)
    print(f"{frames} frames in {config.out} ({config.split}_final.txt)")
    if config.assets is not None:
        print(f"models used, with their licences: {config.out / 'assets.csv'}; left out: assets_left_out.csv beside it")
    return 0


def _run_prompt(config: SynthConfig) -> int:
    """Make the rooms of a sentence and say what was guessed, not understood or not placed; exit code 0."""
    import json

    from sgrocc_core.data.synthetic.words.reader import read_wish
    from sgrocc_core.data.synthetic.write import prompt_file, write_scenes
    from sgrocc_core.words.encoder import encoder_if_installed

    wish = read_wish(config.prompt or "", encoder_if_installed())
    for said in wish.understood:
        print(f"note: {said}")
    for said in wish.missed:
        print(f"not understood: {said}")
    frames = write_scenes(config)
    for index in range(config.first, config.first + config.scenes):
        made = json.loads(prompt_file(config, index).read_text())
        print(f"{config.name(index)}: {made['caption']}")
        for miss in made["misses"]:
            print(f"{config.name(index)}: not as asked: {miss}")
    print(f"{frames} frames in {config.out} ({config.split}_final.txt); what was read: {config.out / 'prompts'}")
    return 0
