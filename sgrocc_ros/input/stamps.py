"""Judges time stamps: images without a time are dropped, and a jump of time is believed when several images agree."""

from __future__ import annotations

from typing import Protocol

from sgrocc_core.checks.counts import check_image_stamp
from sgrocc_core.errors import FrameError

AHEAD_NS = 10_000_000_000
"""Maximum lead of a stamp over the node's clock, nanoseconds."""
JUMP_NS = 1_000_000_000
"""Stamps that go back by more than this, nanoseconds, mean that time has jumped (a recording that starts anew)."""
AGREEING = 3
"""Consecutive messages of the other time before a jump back is believed."""
APART_NS = 10_000_000_000
"""Messages of one time lie no further apart than this, nanoseconds (round guess)."""


class Report(Protocol):
    """The part of `Statistics` that the gate uses."""

    def drop(self, cause: str, message: str) -> None:
        """Count an image that is not mapped."""


class OtherTime:
    """Counts consecutive stamps of another time until they are believed.

    Attributes:
        last: the newest of them, nanoseconds; None before the first.
    """

    def __init__(self) -> None:
        self.last: int | None = None
        self._count = 0

    def believes(self, stamp: int) -> bool:
        """Add a stamp (ns) of the other time; true once AGREEING stamps advance by plausible steps."""
        follows = self.last is not None and 0 < stamp - self.last <= APART_NS
        self._count = self._count + 1 if follows else 1
        self.last = stamp
        return self._count >= AGREEING

    def clear(self) -> None:
        """Start counting anew."""
        self.last, self._count = None, 0


class StampGate:
    """Checks the images' time stamps.

    An image is dropped if its stamp is no time, more than AHEAD_NS ahead of the node's clock, or not after the
    newest one, also where that one came after a pause. Stamps more than JUMP_NS back mean that time has jumped,
    once AGREEING consecutive images agree; one or two are dropped. Images more than JUMP_NS ahead are let through,
    but the time that others are compared with moves there only with the third: one alone says nothing about the
    time.

    Args:
        report: counts dropped images.

    Attributes:
        newest: the newest stamp that is believed, nanoseconds; None before the first.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self.newest: int | None = None
        self._ahead, self._back = OtherTime(), OtherTime()

    def admit(self, stamp: int, now: int) -> str:
        """Check the time stamp of an image.

        Args:
            stamp: time stamp of the image, nanoseconds.
            now: time of the node's clock, nanoseconds; 0 while a simulated clock has not started.

        Returns:
            `pass`, `drop` (counted here), or `jump` if the image is accepted but time has jumped back.
        """
        try:
            check_image_stamp(stamp)
        except FrameError as error:
            return self._drop(error.cause, str(error))
        if now > 0 and stamp - now > AHEAD_NS:
            return self._drop(
                "stamp_ahead", f"the image's stamp is {(stamp - now) / 1e9:.1f} s ahead of the node's clock"
            )
        if self.newest is None or stamp > self.newest:
            return self._advance(stamp)
        back = self.newest - stamp
        if back <= JUMP_NS:
            self._back.clear()
            return self._drop("stamp_back", f"the image's stamp is {back / 1e9:.3f} s older than the newest one")
        if self._back.believes(stamp):
            self.newest = stamp
            self._ahead.clear()
            self._back.clear()
            return "jump"
        return self._drop(
            "stamp_back",
            f"the image's stamp is {back / 1e9:.3f} s older than the newest one; a jump of time is believed when "
            f"{AGREEING} consecutive images agree",
        )

    def restart(self) -> None:
        """Forget the newest stamp, after a jump of the clock."""
        self.newest = None
        self._ahead.clear()
        self._back.clear()

    def _advance(self, stamp: int) -> str:
        """Judge a stamp after the newest one."""
        self._back.clear()
        ahead = self._ahead.last
        if ahead is not None and 0 <= ahead - stamp <= JUMP_NS:
            return self._drop("stamp_back", f"the image's stamp is {(ahead - stamp) / 1e9:.3f} s older than one before")
        if self.newest is None or stamp - self.newest <= JUMP_NS:
            self.newest = stamp
            self._ahead.clear()
            return "pass"
        if self._ahead.believes(stamp):
            self.newest = stamp
            self._ahead.clear()
        return "pass"

    def _drop(self, cause: str, message: str) -> str:
        self._report.drop(cause, message)
        return "drop"
