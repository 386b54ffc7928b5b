"""Messages that a publisher sent and that never arrived, known by the gaps between the numbers that DDS gives them.

They are lost where a queue overflows (the publisher's, the subscriber's) or, with best effort, where a fragment is lost.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

PUBLISHERS = 16
"""Publishers that are remembered, the latest heard."""


class LostMessages:
    """Counts the gaps in each publisher's numbers.

    What was sent before the first message that arrived is not lost: it may have been sent before the subscription. Where the middleware
    or rclpy tells no numbers or no publishers nothing is counted.
    """

    def __init__(self) -> None:
        self._last: OrderedDict[bytes, int] = OrderedDict()

    def see(self, info: Any) -> int:
        """How many messages were lost just before one that arrived.

        Args:
            info: what rclpy says about it (a mapping), None if nothing.
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
