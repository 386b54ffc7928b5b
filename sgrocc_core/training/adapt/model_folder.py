"""The adapted model as a folder like any other: graphs, weights, description and a card."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from sgrocc_core.engines.export import export_model
from sgrocc_core.engines.model import ModelSpec
from sgrocc_core.engines.weights import build_networks, load_weights
from sgrocc_core.errors import DataError
from sgrocc_core.network.stereo.network import build_stereo
from sgrocc_core.training.adapt.scores import Scores, markdown

CARD = "MODEL_CARD.md"


def check_free(folder: Path) -> None:
    """Check that a model can be written to a folder.

    Raises:
        DataError: it exists and is not empty, or its parent is no folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists; an adapted model never replaces another: give --out a new folder")


def export_adapted(spec: ModelSpec, weights: Path, name: str, folder: Path) -> None:
    """Export adapted weights.

    Args:
        spec: of the model that was adapted.
        weights: file with all of its networks.
        name: of the new model.
        folder: to write; an earlier attempt there is replaced.
    """
    shutil.rmtree(folder, ignore_errors=True)
    image, expert = build_networks(spec.networks)
    stereo = build_stereo(spec.networks["stereo"], image) if "stereo" in spec.networks else None
    load_weights(weights, image, expert, stereo)
    export_model(image, expert, spec.networks, name, folder, stereo)


@dataclass(frozen=True)
class Story:
    """What the card tells.

    Attributes:
        name: of the adapted model.
        base: name of the model that was adapted.
        recording: name of the bag.
        frames: numbers of frames that were learned from and held out.
        distance: between the camera's extreme positions, metres.
        depth: where depth came from.
        teachers: names of the teachers of classes.
        named: share of the occupied voxels that the teachers named.
        minutes: training time.
        rooms: what was mixed in.
        command: that made the model.
        averaged: whether the weights are the mean of those before and after the training.
    """

    name: str
    base: str
    recording: str
    frames: tuple[int, int]
    distance: float
    depth: str
    teachers: tuple[str, ...]
    named: float
    minutes: float
    rooms: str
    command: str
    averaged: bool = False


def card(story: Story, before: Scores, after: Scores) -> str:
    """Returns the text of the card."""
    learned, held = story.frames
    classes = (
        f"Classes were taught by {', '.join(story.teachers)}; {story.named:.0%} of the occupied voxels got one. Labels "
        "of published networks are theirs: mind their licences."
        if story.teachers
        else "No teacher told classes: depth and geometry alone were learned."
    )
    averaged = (
        " The weights are the mean of those before and after: the latter alone were worse." if story.averaged else ""
    )
    return f"""# {story.name}

The model `{story.base}`, adapted by `sgrocc adapt` to one recording without labels. Its networks, inputs and outputs
are those of `{story.base}`, whose licence and limits it shares.

## Data
{learned} frames of `{story.recording}`, over {story.distance:.1f} m, taught depth and geometry; depth came from
{story.depth}. {held} further frames were held out in whole blocks of time, with a gap on both sides. {classes}
Mixed in: {story.rooms}.

## Training
{story.minutes:.0f} minutes: the image engine, then the expert on it ([docs/training.md] of sgrocc).{averaged}

```bash
{story.command}
```

## Results
{markdown(before, after)}

The held-out tenth is of the same walk as the training frames, so it tells how well the model knows this building, and
nothing of others. Its depth and occupancy are judged by the recording's own depth, its classes by the teachers.
"""


def write_model(exported: Path, out: Path, text: str) -> None:
    """Put an exported model and its card into place.

    Args:
        exported: folder of `export_adapted`; it is moved.
        out: folder that is free, see `check_free`.
        text: of the card.
    """
    check_free(out)
    (exported / CARD).write_text(text)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.is_dir():
        out.rmdir()
    shutil.move(str(exported), str(out))
