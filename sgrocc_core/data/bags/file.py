"""Opens bag files of any supported kind and lists their topics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from sgrocc_core.data.bags.messages import image_size
from sgrocc_core.data.bags.topics import COMPRESSED, INFO, RAW, Topic
from sgrocc_core.errors import DataError


def open_reader(path: Path) -> AnyReader:
    """Open a bag of any supported kind.

    Raises:
        DataError: no such file, not a bag, or a damaged one.
    """
    if not path.exists():
        raise DataError(f"no such file or folder: {path}")
    paths = [path]
    if path.is_dir() and not (path / "metadata.yaml").exists():
        paths = sorted(p for p in path.iterdir() if p.suffix in (".mcap", ".db3", ".bag"))
        if not paths or (len(paths) > 1 and any(p.suffix != ".bag" for p in paths)):
            raise DataError(
                f"{path} is not a bag: it has no metadata.yaml and {len(paths)} bag files (.mcap, .db3, .bag)"
            )
    try:
        reader = AnyReader(paths, default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    except Exception as error:  # a damaged file may make the parser raise anything
        raise DataError(
            f"{path} is not a bag that can be read (rosbag2 as .mcap, .db3 or folder, ROS 1 as .bag): {error}"
        ) from error
    return reader


def describe_topics(reader: AnyReader) -> list[Topic]:
    """All topics of a bag. Encoding and frame of image and camera_info topics come from their first message."""
    topics = []
    for name, info in reader.topics.items():
        kind, coding, frame_id, size = info.msgtype or "", "", "", None
        if kind in (RAW, COMPRESSED, INFO) and info.msgcount:
            try:
                connection, _, raw = next(iter(reader.messages(info.connections)))
                message: Any = reader.deserialize(raw, connection.msgtype)
            except Exception as error:
                raise DataError(f"the first message of {name} ({kind}) cannot be read: {error}") from error
            frame_id = message.header.frame_id.removeprefix("/")
            coding = message.encoding if kind == RAW else message.format if kind == COMPRESSED else ""
            size = image_size(message) if kind in (RAW, COMPRESSED) else None
        topics.append(Topic(name, kind, info.msgcount, coding, frame_id, _offered_qos(info.connections[0]), size))
    return topics


def _offered_qos(connection: Any) -> str:
    profiles = getattr(connection.ext, "offered_qos_profiles", None)
    if not profiles:
        return "latched" if getattr(connection.ext, "latching", 0) else ""
    return ", ".join(
        value.name.lower().replace("_", " ") for value in (profiles[0].reliability, profiles[0].durability)
    )
