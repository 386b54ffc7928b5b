"""Maps frames one after the other and keeps count, for `sgrocc map`, `sgrocc view` and `sgrocc bench`."""

from __future__ import annotations

import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sgrocc_core.frame import Frame

if TYPE_CHECKING:
    from sgrocc_core.mapping.mapper import MapUpdate, OccupancyMapper


@dataclass
class MappingResult:
    """Counts and times of a run.

    Attributes:
        frames: number of mapped frames.
        with_depth: how many of them had sensor depth.
        stamp_ns: stamp of the newest, nanoseconds.
        interrupted: whether Ctrl-C ended the run early; the frames until then are mapped.
        timings: milliseconds of each frame, by stage.
        notes: sentences of the mapper for the user.
    """

    frames: int = 0
    with_depth: int = 0
    stamp_ns: int = 0
    interrupted: bool = False
    timings: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)


def map_frames(
    mapper: OccupancyMapper,
    frames: Iterable[Frame],
    watch: Callable[[Frame, MapUpdate], None] | None = None,
    ahead: bool = False,
) -> MappingResult:
    """Map every frame in order; the same frames give the same map.

    Args:
        mapper: the mapper.
        frames: the frames. Ctrl-C ends the run, and what was mapped until then stays.
        watch: called after each frame with the frame and its update.
        ahead: whether the image network of the next frame runs beside the end of each step.
    """
    result = MappingResult()
    try:
        with _interrupts() as asked:
            for frame, following in _with_next(frames) if ahead else ((frame, None) for frame in frames):
                _map_frame(mapper, frame, following, watch, result)
                if asked:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        if not result.frames:
            raise
        result.interrupted = True
    return result


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Notes that Ctrl-C was pressed, besides what happens then: Python drops its exception inside a finaliser.

    The list holds the signals. An Event would wait for itself if a second signal came while it is being set.
    """
    asked: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        assert callable(before)
        before(number, frame)

    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield asked
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _with_next(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Frame | None]]:
    """Each frame with the one after it."""
    before: Frame | None = None
    for frame in frames:
        if before is not None:
            yield before, frame
        before = frame
    if before is not None:
        yield before, None


def _map_frame(
    mapper: OccupancyMapper,
    frame: Frame,
    following: Frame | None,
    watch: Callable[[Frame, MapUpdate], None] | None,
    result: MappingResult,
) -> None:
    update = mapper.step(frame, None if following is None else lambda: following)
    if watch is not None:
        watch(frame, update)
    result.frames += 1
    result.with_depth += frame.depth is not None
    result.stamp_ns = update.stamp_ns
    result.notes += update.notes
    for stage, milliseconds in update.timings.items():
        result.timings[stage].append(milliseconds)
