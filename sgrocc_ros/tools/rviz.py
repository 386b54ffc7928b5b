"""Adapts RViz's configuration to a launch: topics of the node under its namespace, image topic and map frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sgrocc_core.errors import DataError
from sgrocc_ros import NODE

IMAGE_TOPIC = "/camera/color/image_raw"
"""Default image topic of the launch file, and the image topic in the shipped configuration."""
DEPTH_TOPIC = "/camera/aligned_depth_to_color/image_raw"
"""Default depth topic of the launch file."""


def for_this_launch(path: Path, node: str, image: str, map_frame: str) -> str:
    """Replace the shipped topics and fixed frame in a configuration by those of this launch.

    Args:
        path: the configuration file.
        node: full name of the node.
        image: image topic; one that ends in `/compressed` is received compressed.
        map_frame: the fixed frame.

    Returns:
        The text of the new configuration.

    Raises:
        DataError: the file is not a configuration of RViz.
    """
    try:
        document = yaml.safe_load(path.read_text())
        manager = document["Visualization Manager"]
        topics = [topic for display in manager["Displays"] for topic in _topics(display)]
        manager["Global Options"]["Fixed Frame"] = map_frame
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not a configuration of RViz: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    for topic in topics:
        if topic["Value"] == IMAGE_TOPIC:
            topic["Value"] = image
        elif topic["Value"].startswith(f"/{NODE}/"):
            topic["Value"] = node + topic["Value"].removeprefix(f"/{NODE}")
    return yaml.safe_dump(document, sort_keys=False)


def _topics(display: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the topic properties of a display, or of all displays in a group."""
    own = [
        value
        for name, value in display.items()
        if name.endswith("Topic") and isinstance(value, dict) and value.get("Value")
    ]
    return own + [topic for inner in display.get("Displays") or [] for topic in _topics(inner)]
