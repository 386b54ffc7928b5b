"""Takes the images of several cameras in turn: the camera that has not been taken from for longest comes first.

A camera of which nothing is complete is passed over. The age of the images would not do: of two cameras whose images
come almost together, the first would be taken from twice in a row again and again. No image is waited for, as
`WaitingRoom.take` does for a single camera, because another camera's can be mapped meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from sgrocc_ros.input.clouds import CloudRoom, WaitingCloud
from sgrocc_ros.input.waiting import LONGEST_WAIT, Complete, WaitingRoom


class Turns:
    """The waiting rooms of all cameras.

    Args:
        rooms: one a camera; all are notified through `changed`.
        changed: their condition.
        clock: the steady clock, seconds.

    Attributes:
        clouds: clouds that are mapped by themselves, which take turns with the cameras; None without.
    """

    def __init__(
        self,
        rooms: Sequence[WaitingRoom],
        changed: threading.Condition,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rooms, self._changed, self._clock = rooms, changed, clock
        self.clouds: CloudRoom | None = None
        self._woken = False
        self._picks = 0
        self._last_pick: dict[int, int] = {}  # of each room, by its identity

    @property
    def waiting(self) -> int:
        """Number of waiting images."""
        return sum(room.waiting for room in self.rooms)

    def wake(self) -> None:
        """Make `take` return None at once."""
        if self._has_one_room:
            return self.rooms[0].wake()
        with self._changed:
            self._woken = True
            self._changed.notify()

    @property
    def _has_one_room(self) -> bool:
        return len(self.rooms) == 1 and self.clouds is None

    def take(self, not_before: float = 0.0) -> Complete | WaitingCloud | None:
        """Wait for a complete image of any camera, or a cloud, and return it; return None after `wake`.

        Args:
            not_before: time on the steady clock before which no image is returned, seconds; limits the rate.
        """
        if self._has_one_room:
            return self.rooms[0].take(not_before)
        with self._changed:
            while not self._woken:
                now = self._clock()
                if now >= not_before and (found := self.pick(now)) is not None:
                    return found
                deadline = min(room.next_deadline(now, not_before) for room in self._all)
                self._changed.wait(min(deadline, LONGEST_WAIT))
            self._woken = False
            return None

    @property
    def _all(self) -> list[WaitingRoom | CloudRoom]:
        return [*self.rooms, *([self.clouds] if self.clouds is not None else [])]

    def pick(self, now: float) -> Complete | WaitingCloud | None:
        """Return the newest complete image of the camera whose turn it is, or a cloud; None if none is complete.

        The caller holds the condition `changed`.
        """
        for room in sorted(self._all, key=lambda room: (self._last_pick.get(id(room), 0), room.oldest)):
            found: Complete | WaitingCloud | None = room.pick(now)
            if found is not None:
                self._picks += 1
                self._last_pick[id(room)] = self._picks
                return found
        return None
