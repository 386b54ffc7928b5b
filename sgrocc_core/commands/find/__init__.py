"""`sgrocc find`: asks a saved map in words where something is."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = """Ask a saved map where something is.

  sgrocc find runs/mine "sofa"
  sgrocc find runs/mine "somewhere to sit" --json found.json

Classes and their synonyms are always understood; other phrases need the sentence encoder (`make setup-words`).
The things are connected voxels of the classes that the phrase means: the middle and size of their box, their volume,
mean probability, and the nearest free place on the floor from which to see them; metres, in the map's frame.
A map that was made with --language is asked in any words: things of every class, those that fit best first.
Exit code 2 if there is none."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("map", type=Path, help="folder of a saved map")
    parser.add_argument("phrase", help="what to look for, in English")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the things to this file")
    parser.add_argument(
        "--language",
        default="",
        metavar="DIR",
        help="image-text model of the map's language features (default: the folder that it was made with); none: ask "
        "by classes",
    )
    parser.add_argument("--most", type=int, default=20, metavar="N", help="things to print at most (default 20)")


def run(args: argparse.Namespace) -> int:
    """Print the things; exit code 0, or 2 if there is none."""
    import json

    from sgrocc_core.errors import ConfigError
    from sgrocc_core.map_files.format import load_map
    from sgrocc_core.words.encoder import encoder_if_installed
    from sgrocc_core.words.phrases import meaning_of

    if args.most < 1:
        raise ConfigError(f"--most is {args.most}; it must be at least 1")
    saved = load_map(args.map)
    things = saved.find(args.phrase, args.language)
    classes, how = [], "language features"
    if args.language == "none" or "language" not in saved.gaussians:
        meaning = meaning_of(args.phrase, encoder_if_installed())
        classes, how = list(meaning.classes), meaning.how
        print(f"{args.phrase!r} means {' or '.join(classes)} (by {how}): {len(things)} found")
    else:
        print(f"{args.phrase!r} by language features: {len(things)} found")
    for thing in things[: args.most]:
        x, y, z = thing.centre
        size = " x ".join(f"{v:.2f}" for v in thing.extent)
        stand = "from nowhere known" if thing.stand is None else f"from {thing.stand[0]:.2f}, {thing.stand[1]:.2f}"
        print(
            f"{thing.name:<10} at {x:.2f}, {y:.2f}, {z:.2f}  {size} m  {thing.volume:.3f} m3  "
            f"p {thing.probability:.2f}  seen {stand}"
            + ("" if thing.similarity is None else f"  fits {thing.similarity:+.2f}")
        )
    if args.json is not None:
        rows = [
            {
                "class": t.name,
                "centre": t.centre.round(3).tolist(),
                "extent": t.extent.round(3).tolist(),
                "volume": round(t.volume, 4),
                "probability": round(t.probability, 3),
                "stand": None if t.stand is None else t.stand.round(3).tolist(),
                "similarity": t.similarity,
            }
            for t in things
        ]
        args.json.parent.mkdir(parents=True, exist_ok=True)
        found = {"phrase": args.phrase, "classes": classes, "how": how, "objects": rows}
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if things else 2
