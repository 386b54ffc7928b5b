"""The transforms of a bag: which tf topics are read, and what in them is not used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sgrocc_core.checks.counts import Counts
from sgrocc_core.checks.findings import Finding
from sgrocc_core.checks.stamps import no_time
from sgrocc_core.data.bags.topics import TF_TYPES, Topic
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.transforms import RejectedTransformError, TransformTree, checked_quaternion


def stamp_of(message: Any) -> int:
    """Stamp of a message with a header, nanoseconds."""
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def namespace(topic: str) -> str:
    """The part of a topic's name before its last word, without a slash at the end."""
    return topic.rpartition("/")[0]


def choose_tf_topics(topics: Sequence[Topic], image: str, wanted: str = "") -> list[str]:
    """The tf topics that belong to an image topic.

    Transforms of several robots use the same frame names, so that those of one namespace only are read: the requested
        one, else the longest one that the image topic lies in, else the root's.

    Args:
        topics: all topics of the bag.
        image: name of the image topic.
        wanted: a tf topic, or its namespace; empty chooses.

    Raises:
        DataError: no such topic, or several namespaces of which none is the image's.
    """
    found = sorted(t.name for t in topics if t.kind in TF_TYPES and t.count)
    spaces = sorted({namespace(name) for name in found})
    listed = ", ".join(found)
    if wanted:
        space = namespace(wanted) if wanted in found else wanted.rstrip("/")
        if space not in spaces:
            raise DataError(f"the bag has no tf topic {wanted}; it has {listed or 'none'} (--tf-topic)")
    elif len(spaces) <= 1:
        return found
    else:
        around = [space for space in spaces if space and image.startswith(f"{space}/")]
        if not around and "" not in spaces:
            raise DataError(
                f"the bag has transforms of several namespaces ({listed}), and {image} lies in none of them; "
                "choose one with --tf-topic"
            )
        space = max(around, key=len, default="")
    return [name for name in found if namespace(name) == space]


class BagTransforms:
    """Collects the transforms of a bag in a tree and counts those that are refused.

    Args:
        max_gap_ns: see `TransformTree`.

    Attributes:
        tree: all transforms that are used.
        counts: counts those that are refused.
        repaired: sentences about quaternions that were normalised; the first of each topic.
    """

    def __init__(self, counts: Counts, max_gap_ns: int | None = None) -> None:
        self.tree = TransformTree(history_ns=None, max_gap_ns=max_gap_ns)
        self.counts = counts
        self.repaired: dict[str, str] = {}

    def add(self, message: Any, topic: str) -> None:
        """Add a TFMessage that was received on a topic."""
        for stamped in message.transforms:
            t, q = stamped.transform.translation, stamped.transform.rotation
            parent, child, stamp = stamped.header.frame_id, stamped.child_frame_id, stamp_of(stamped)
            translation, quaternion = np.array([t.x, t.y, t.z]), np.array([q.x, q.y, q.z, q.w])
            static = topic.endswith("tf_static")
            try:
                if not static and (wrong := no_time(stamp, f"the transform {parent!r} to {child!r}: its")):
                    raise RejectedTransformError("bad_transform", wrong)
                if told := checked_quaternion(parent, child, translation, quaternion)[1]:
                    self.repaired.setdefault(topic, f"{told} (on {topic})")
                self.tree.add(parent, child, stamp, translation, quaternion, static)
            except RejectedTransformError as error:
                self.counts.refuse_transform(error.cause, f"{error} (on {topic})", stamp)

    def summary(self) -> str:
        """The refused transforms in one phrase; empty without any."""
        refused = self.counts.transforms_refused
        if not refused:
            return ""
        total, examples = sum(refused.values()), [self.counts.examples[cause] for cause in refused]
        return f"{total} transform{'s were' if total > 1 else ' was'} refused: {'; '.join(examples)}"

    def findings(self) -> list[Finding]:
        """A warning for each cause of a refusal, and for quaternions that were normalised."""
        refused = self.counts.transforms_refused
        found = [
            Finding("warning", "unnormalised_quaternion", text, "Have their publisher normalise them.")
            for text in self.repaired.values()
        ]
        return found + [
            Finding(
                "warning",
                cause,
                f"{count} transform{'s were' if count > 1 else ' was'} refused: {self.counts.examples[cause]}",
                "Correct the node that publishes them; poses that depend on them are missing.",
            )
            for cause, count in refused.items()
        ]
