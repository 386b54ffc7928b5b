"""Entity paths and timelines of a recording, its static data, and the initial layout of the viewer's window."""

from __future__ import annotations

import numpy as np
import rerun as rr
import rerun.blueprint as rrb

from sgrocc_core.classes import NAMES, UNKNOWN, color_table

ROOT = "map"
"""The map frame: z up, right-handed, metres."""
VOXELS, FREE, GAUSSIANS, PATH = f"{ROOT}/voxels", f"{ROOT}/free", f"{ROOT}/gaussians", f"{ROOT}/path"
CAMERA = f"{ROOT}/camera"
IMAGE, DEPTH = f"{CAMERA}/image", f"{CAMERA}/depth"
ABOUT = "about"
STAMP, FRAME = "stamp", "frame"
"""Timelines: stamps of the recording, and frame numbers from 0."""
BACKGROUND = (246, 245, 241)


def class_name(label: int) -> str:
    """Class name of a label byte; `unknown` for a label without a class."""
    return NAMES[label] if label < len(NAMES) else "unknown"


def voxels_of(label: int, block: tuple[int, int, int] | None = None) -> str:
    """Entity path of the voxels of a class, in one block of 16^3 voxels or in the whole map."""
    entity = f"{VOXELS}/{class_name(label)}"
    return entity if block is None else f"{entity}/{block[0]}_{block[1]}_{block[2]}"


def log_static(stream: rr.RecordingStream) -> None:
    """Log the static data: the axes, and names and colours of the classes."""
    colors = color_table()
    classes = [(label, class_name(label), tuple(map(int, colors[label]))) for label in (*range(1, len(NAMES)), UNKNOWN)]
    stream.log(ROOT, rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    stream.log(ROOT, rr.AnnotationContext(classes), static=True)


def blueprint_of_bag(low: np.ndarray, high: np.ndarray) -> rrb.Blueprint:
    """Layout for a bag: the map, and beside it the image, the depth used and the Gaussians in view.

    Args:
        low: (3,) lowest corner of the shown box, metres.
        high: (3,) highest corner of the shown box, metres.
    """
    side = rrb.Vertical(
        rrb.Spatial2DView(origin=IMAGE, name="image"), rrb.Spatial2DView(origin=DEPTH, name="depth used"),
        _view("Gaussians in view", rrb.EyeControls3D(tracking_entity=CAMERA), hidden=(VOXELS,)),
    )  # fmt: skip
    panel = rrb.TimePanel(state="collapsed", timeline=STAMP)
    return _blueprint(
        rrb.Horizontal(_view("map", _eye(low, high), hidden=(GAUSSIANS,)), side, column_shares=[3, 1]), panel
    )


def blueprint_of_map(low: np.ndarray, high: np.ndarray) -> rrb.Blueprint:
    """Layout for a saved map: voxels and Gaussians as tabs, and beside them a description.

    Args:
        low: (3,) lowest corner of the shown box, metres.
        high: (3,) highest corner of the shown box, metres.
    """
    eye = _eye(low, high)
    tabs = rrb.Tabs(_view("voxels", eye, hidden=(GAUSSIANS, FREE)), _view("Gaussians", eye, hidden=(VOXELS, FREE)))
    about = rrb.TextDocumentView(origin=ABOUT, name="about the map")
    return _blueprint(rrb.Horizontal(tabs, about, column_shares=[3, 1]), rrb.TimePanel(state="hidden", timeline=STAMP))


def _eye(low: np.ndarray, high: np.ndarray) -> rrb.EyeControls3D:
    """A viewpoint above a corner of a box from which all of it is visible."""
    centre, reach = (low + high) / 2, max(float(np.max(high - low)), 1.0)
    return rrb.EyeControls3D(position=centre + reach * np.array([-0.6, -0.8, 0.8]), look_target=centre)


def _view(name: str, eye: rrb.EyeControls3D, hidden: tuple[str, ...]) -> rrb.Spatial3DView:
    """A 3D view of the map. Some entities are initially hidden, such as the ceiling, which would cover the room."""
    entities = (*hidden, voxels_of(NAMES.index("ceiling")), DEPTH)
    return rrb.Spatial3DView(
        origin=ROOT, name=name, background=BACKGROUND, line_grid=False, eye_controls=eye,
        overrides={entity: rrb.EntityBehavior(visible=False) for entity in entities},
    )  # fmt: skip


def _blueprint(views: rrb.Horizontal, panel: rrb.TimePanel) -> rrb.Blueprint:
    return rrb.Blueprint(views, rrb.BlueprintPanel(state="collapsed"), rrb.SelectionPanel(state="collapsed"), panel)
