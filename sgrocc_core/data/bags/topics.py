"""Selects a bag's colour image, camera_info and registered depth topics by message type, encoding and name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sgrocc_core.data.images import COLOR_ENCODINGS
from sgrocc_core.errors import DataError

RAW = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"
TF_TYPES = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")
_OTHER_EYES = ("infra", "/ir", "thermal", "right", "fisheye")
_NICE = ("rect", "color", "rgb")


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    Attributes:
        name: topic name.
        kind: message type, such as `sensor_msgs/msg/Image`.
        count: number of messages.
        coding: encoding or format of its first image; empty for other topics.
        frame_id: frame of its first message that has a header; empty otherwise.
        size: (width, height) of its first image, pixels; None for other topics or if its header does not say.
        qos: QoS offered by its publisher, such as `reliable, volatile`; empty if the bag does not record it.
    """

    name: str
    kind: str
    count: int
    coding: str = ""
    frame_id: str = ""
    qos: str = ""
    size: tuple[int, int] | None = None

    @property
    def is_image(self) -> bool:
        """Whether it holds images, raw or compressed."""
        return self.kind in (RAW, COMPRESSED)

    @property
    def is_depth(self) -> bool:
        """Whether it holds depth images, by the encoding of the first one or by the topic's name."""
        coding = self.coding.lower()
        if not self.is_image:
            return False
        return (
            coding.startswith(("16uc1", "32fc1"))
            or (coding == "mono16" and "depth" in self.name.lower())
            or "compresseddepth" in coding
            or self.name.endswith("/compressedDepth")
        )

    @property
    def is_color(self) -> bool:
        """Whether it holds colour images in an encoding that can be decoded."""
        if not self.is_image or self.is_depth:
            return False
        if self.kind == COMPRESSED:
            return "depth" not in self.name.lower()
        return self.coding.lower() in COLOR_ENCODINGS


@dataclass(frozen=True)
class Selection:
    """The topics to read.

    Attributes:
        image: colour images.
        info: camera_info of the colour images.
        depth: depth registered to the colour images, or None.
    """

    image: Topic
    info: Topic
    depth: Topic | None


def base_name(topic: str) -> str:
    """An image topic's name without the suffix of its transport."""
    for suffix in ("/compressedDepth", "/compressed"):
        topic = topic.removesuffix(suffix)
    return topic


def info_name(image_topic: str) -> str:
    """Name of the camera_info topic that belongs to an image topic."""
    return base_name(image_topic).rpartition("/")[0] + "/camera_info"


def select(
    topics: Iterable[Topic], image: str = "", info: str = "", depth: str = "", want_depth: bool = True
) -> Selection:
    """Choose the topics to read.

    Args:
        topics: all topics of the bag.
        image: wanted colour topic, with or without the transport's suffix; chosen automatically if empty.
        info: wanted camera_info topic; chosen automatically if empty.
        depth: wanted depth topic, with or without the transport's suffix; chosen automatically if empty.
        want_depth: whether to look for depth at all.

    Raises:
        DataError: no topic fits; the message lists the topics of the bag.
    """
    topics = sorted((t for t in topics if t.count), key=lambda t: t.name)
    color = _named(topics, image, "image") if image else best_color(topics)
    if not color.is_image or color.is_depth:
        raise DataError(f"topic {color.name} ({color.kind} {color.coding}) is not a colour image; {listing(topics)}")
    camera = _named(topics, info, "camera_info") if info else _nearest_info(topics, color)
    if camera.kind != INFO:
        raise DataError(f"topic {camera.name} is {camera.kind}, not {INFO}; {listing(topics)}")
    if not want_depth:
        return Selection(color, camera, None)
    chosen = _named(topics, depth, "depth") if depth else best_depth(topics, color)
    if chosen is not None and not chosen.is_depth and not (depth and chosen.coding.lower() == "mono16"):
        raise DataError(
            f"topic {chosen.name} ({chosen.kind} {chosen.coding}) is not a depth image "
            "(16UC1, 32FC1, mono16 or compressedDepth)"
        )
    return Selection(color, camera, chosen)


def listing(topics: Iterable[Topic]) -> str:
    """The bag's topics as one phrase, for error messages."""
    names = [f"{t.name} ({t.kind.rpartition('/')[2]}{' ' + t.coding if t.coding else ''}, {t.count})" for t in topics]
    return f"the bag has: {', '.join(names)}" if names else "the bag has no messages"


def _named(topics: list[Topic], name: str, role: str) -> Topic:
    exact = [t for t in topics if t.name == name]
    found = exact or [
        t for t in topics if base_name(t.name) == base_name(name) and (t.is_image or role == "camera_info")
    ]
    if not found:
        raise DataError(f"the bag has no topic {name} for the {role}; {listing(topics)}")
    return sorted(found, key=lambda t: t.is_depth != (role == "depth"))[0]


def best_color(topics: list[Topic]) -> Topic:
    """The likeliest colour image; DataError without any."""
    candidates = [t for t in topics if t.is_color]
    if not candidates:
        raise DataError(f"no colour image topic in the bag; {listing(topics)}")
    infos = {t.name for t in topics if t.kind == INFO}

    def _rank(t: Topic) -> tuple:
        name = t.name.lower()
        return (
            "depth" in name, info_name(t.name) not in infos, any(word in name for word in _OTHER_EYES),
            not any(word in name for word in _NICE), t.coding.lower().startswith("mono"), t.kind != RAW, -t.count,
            t.name,
        )  # fmt: skip

    return min(candidates, key=_rank)


def _nearest_info(topics: list[Topic], color: Topic) -> Topic:
    infos = [t for t in topics if t.kind == INFO]
    if not infos:
        raise DataError(f"no camera_info in the bag, so the lens of {color.name} is unknown; {listing(topics)}")
    wanted = info_name(color.name)
    for topic in infos:
        if topic.name == wanted:
            return topic
    same_frame = [t for t in infos if t.frame_id == color.frame_id and "depth" not in t.name]
    if len(same_frame) == 1:
        return same_frame[0]
    raise DataError(f"no camera_info at {wanted}; name one of {', '.join(t.name for t in infos)} with --info-topic")


def best_depth(topics: list[Topic], color: Topic) -> Topic | None:
    """Depth in the frame of the colour image, that is, registered to it; None if there is none."""
    candidates = [t for t in topics if t.is_depth and t.frame_id == color.frame_id]

    def _rank(t: Topic) -> tuple:
        return not any(word in t.name for word in ("aligned", "registered")), t.kind != RAW, -t.count, t.name

    return min(candidates, key=_rank) if candidates else None
