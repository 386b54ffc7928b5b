"""Counts lost messages: messages that were sent but never arrived, from the gaps in DDS's sequence numbers.

Messages are lost when a queue of the publisher or subscriber overflows or, with best effort, when a fragment is lost.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

PUBLISHERS = 16
"""Maximum number of publishers that are remembered; the one silent for longest is forgotten first."""


class LostMessages:
    """Counts the gaps in the sequence numbers of each publisher.

    Messages before the first that arrived are not counted, because they may have been sent before the subscription.
    Nothing is counted if the middleware or rclpy gives no sequence numbers or no publishers.
    """

    def __init__(self) -> None:
        self._last: OrderedDict[bytes, int] = OrderedDict()

    def see(self, info: Any) -> int:
        """Return the number of messages lost just before one that arrived.

        Args:
            info: MessageInfo of the message (a mapping), or None.
        """
        number = info.get("publication_sequence_number") if info else None
        publisher = info.get("publisher_gid") if info else None
        if number is None or not publisher:
            return 0
        gid = bytes(publisher["data"])
        before = self._last.get(gid, number)
        self._last[gid] = number
        self._last.move_to_end(gid)
        if len(self._last) > PUBLISHERS:
            self._last.popitem(last=False)
        return max(0, number - before - 1)
