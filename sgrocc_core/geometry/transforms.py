"""A buffer of time-stamped transforms between coordinate frames, with interpolation, like the buffer of tf2."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from sgrocc_core.geometry.poses import invert_pose, make_pose, rotation_from_quaternion, slerp

QUATERNION_TOLERANCE, REPAIRABLE = 0.01, 0.1
"""Deviation of a quaternion's norm from 1 that is accepted, as in tf2, and up to which it is normalised and told."""
SAME_PLACE_M, SAME_TURN = 1e-3, 1e-6
"""Largest difference of two equal values: metres, and one minus the dot product of the quaternions (0.16 degrees)."""
PARENT_ALIVE_NS = 2_000_000_000
"""Time without a transform after which a frame's parent gives way to another one, nanoseconds (round guess)."""
AGREEING, MANY = 3, 10
"""Transforms in a row that must name the other parent; MANY against a static one (round guesses)."""


NAMED = 12
"""Number of frames that a message names."""


class TransformLookupError(LookupError):
    """A pose cannot be looked up; the subclasses give the reason."""


class UnknownFrameError(TransformLookupError):
    """No transform has this frame."""


class UnconnectedFramesError(TransformLookupError):
    """Both frames are known, but no chain of transforms connects them."""


class TooEarlyError(TransformLookupError):
    """The stamp is older than the oldest transform in the buffer."""


class TooLateError(TransformLookupError):
    """The stamp is newer than the newest transform, which may still arrive."""


class GapError(TransformLookupError):
    """The transforms around the stamp lie further apart than `max_gap_ns`, and the frame moved in between."""


class RejectedTransformError(ValueError):
    """A transform that is not stored.

    Attributes:
        cause: key under which it is counted: `bad_transform`, `tf_loop` or `tf_second_parent`.
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


_Value = tuple[np.ndarray, np.ndarray]


@dataclass
class _Edge:
    """Transforms of one child frame to its parent, in order of their stamps."""

    parent: str
    static: bool
    stamps: list[int] = field(default_factory=list)
    values: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    @property
    def newest(self) -> int:
        """Stamp of the newest transform, nanoseconds; 0 for a static one."""
        return self.stamps[-1]

    def insert(self, stamp_ns: int, value: tuple[np.ndarray, np.ndarray], history_ns: int | None) -> None:
        """Insert in order of stamps, replacing an equal stamp; drop what is older than the history, nanoseconds."""
        at = bisect_left(self.stamps, stamp_ns)
        if at < len(self.stamps) and self.stamps[at] == stamp_ns:
            self.values[at] = value
        else:
            self.stamps.insert(at, stamp_ns)
            self.values.insert(at, value)
        if history_ns is not None:
            old = bisect_left(self.stamps, self.stamps[-1] - history_ns)
            del self.stamps[:old], self.values[:old]

    def at(self, child: str, stamp_ns: int, max_gap_ns: int | None = None) -> np.ndarray:
        """(4, 4) interpolated pose at a stamp; `child` is the name for error messages."""
        if self.static:
            translation, quaternion = self.values[-1]
            return make_pose(rotation_from_quaternion(quaternion), translation)
        after = bisect_left(self.stamps, stamp_ns)
        if after < len(self.stamps) and self.stamps[after] == stamp_ns:
            translation, quaternion = self.values[after]
            return make_pose(rotation_from_quaternion(quaternion), translation)
        edge = f"{self.parent!r} to {child!r}"
        if after == len(self.stamps):
            late = (stamp_ns - self.stamps[-1]) / 1e9
            raise TooLateError(f"the newest transform of {edge} is {late:.3f} s older than the stamp asked for")
        if after == 0:
            early = (self.stamps[0] - stamp_ns) / 1e9
            raise TooEarlyError(f"the oldest transform of {edge} is {early:.3f} s newer than the stamp asked for")
        (t0, q0), (t1, q1) = self.values[after - 1], self.values[after]
        gap = self.stamps[after] - self.stamps[after - 1]
        if max_gap_ns is not None and gap > max_gap_ns and not _same(self.values[after - 1], self.values[after]):
            raise GapError(
                f"the transforms of {self.parent!r} to {child!r} around the stamp lie {gap / 1e9:.2f} s apart; at most "
                f"{max_gap_ns / 1e9:g} s are interpolated (max_pose_gap)"
            )
        a = (stamp_ns - self.stamps[after - 1]) / (self.stamps[after] - self.stamps[after - 1])
        return make_pose(rotation_from_quaternion(slerp(q0, q1, a)), t0 + a * (t1 - t0))


def _same(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether two values (translation, unit quaternion) of a transform are the same pose."""
    return bool(np.abs(a[0] - b[0]).max() < SAME_PLACE_M and 1 - abs(float(np.dot(a[1], b[1]))) < SAME_TURN)


class TransformTree:
    """A thread-safe buffer of transforms.

    Args:
        history_ns: how long a moving transform is kept, counted back from the newest one, nanoseconds; None keeps all.
        max_gap_ns: longest time between two transforms that is interpolated over, nanoseconds; None: any. A frame that
            has not moved in between has a pose all the same.
    """

    def __init__(self, history_ns: int | None = 10_000_000_000, max_gap_ns: int | None = None) -> None:
        self._history_ns, self.max_gap_ns = history_ns, max_gap_ns
        self._edges: dict[str, _Edge] = {}
        self._parents: dict[str, int] = {}
        self._claims: dict[str, tuple[tuple[str, str] | None, list[tuple[int, _Value]]]] = {}
        self._lock = threading.Lock()

    def add(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        translation: np.ndarray,
        quaternion_xyzw: np.ndarray,
        static: bool = False,
    ) -> None:
        """Store the pose of `child` in `parent`.

        Args:
            parent: name of the parent frame; a leading slash is dropped, as in tf2.
            child: name of the child frame, likewise.
            stamp_ns: time of the transform, nanoseconds; not used for static transforms.
            translation: (3,) metres.
            quaternion_xyzw: (4,) unit quaternion.
            static: whether the transform holds at any time.

        A static transform that is sent again as a moving one with the same value stays static. A second parent is
        refused while the first one is alive, and so is a transform that would close a loop: one message may be wrong,
        several in a row are believed, and those that were refused before count, too.

        Raises:
            RejectedTransformError: numbers are not finite, the quaternion is not of unit length, a frame has no name,
                both frames are the same, a loop would close, or the child has another parent that is alive.
        """
        parent, child = parent.removeprefix("/"), child.removeprefix("/")
        t, q = np.array(translation, np.float64), np.array(quaternion_xyzw, np.float64)
        value = (t, checked_quaternion(parent, child, t, q)[0])
        with self._lock:
            edge = self._edges.get(child)
            same_parent = edge is not None and edge.parent == parent
            if edge is not None and same_parent and edge.static and not static and _same(edge.values[-1], value):
                return  # a static transform that is sent on /tf again stays static
            kept: list[tuple[int, _Value]] = []
            if edge is None or not same_parent or edge.static != static:
                kept = self._make_place(parent, child, edge, stamp_ns, None if static else value)
                edge = self._edges[child] = _Edge(parent, static)
                self._parents[parent] = self._parents.get(parent, 0) + 1
            else:
                self._claims.pop(child, None)
            for stamp, earlier in kept:
                edge.insert(stamp, earlier, self._history_ns)
            edge.insert(0 if static else int(stamp_ns), value, self._history_ns)

    def _make_place(
        self, parent: str, child: str, edge: _Edge | None, stamp_ns: int, value: _Value | None
    ) -> list[tuple[int, _Value]]:
        """Make place for `child` under `parent`, or raise RejectedTransformError.

        Args:
            parent: name of the new parent.
            child: name of the child.
            edge: where the child hangs now.
            stamp_ns: time of the transform, nanoseconds.
            value: its value; None for a static one.

        Returns:
            The transforms that were refused before the new parent was believed, with their stamps.
        """
        above = self._ancestors(parent)
        kept: list[tuple[int, _Value]] = []
        if child in above:
            links = above[: above.index(child)]
            blocker = min(links, key=lambda name: (self._edges[name].static, self._edges[name].newest))
            chain = " under ".join(repr(name) for name in above)
            kept = self._overcome(
                blocker, parent, child, stamp_ns, value, RejectedTransformError(
                    "tf_loop", f"transform {parent!r} to {child!r} would close a loop: the tree already has {chain}"
                ),
            )  # fmt: skip
            self._release(self._edges.pop(blocker).parent)
        elif edge is not None and edge.parent != parent and not (value is None and edge.static):
            # A static transform says nothing of its time; it may replace another static one, as after a new launch.
            kept = self._overcome(
                child, parent, child, stamp_ns, value, RejectedTransformError(
                    "tf_second_parent",
                    f"transform {parent!r} to {child!r} gives {child!r} a second parent beside {edge.parent!r}",
                ),
            )  # fmt: skip
        if edge is not None:
            self._release(edge.parent)
        return kept

    def _overcome(
        self,
        blocker: str,
        parent: str,
        child: str,
        stamp_ns: int,
        value: _Value | None,
        error: RejectedTransformError,
    ) -> list[tuple[int, _Value]]:
        """Count a transform that contradicts that of `blocker`; raise the error until the contradiction is believed.

        Believed are AGREEING moving transforms in a row without any of the blocker's, if the blocker has been silent
        for PARENT_ALIVE_NS or had only one; against a static blocker that closes a loop, MANY of them.
        """
        if value is None:
            raise error
        edge, (claimant, kept) = self._edges[blocker], self._claims.get(blocker, (None, []))
        if claimant != (parent, child):
            kept = []
        needed = MANY if edge.static and blocker != child else AGREEING
        silent = len(edge.stamps) == 1 or stamp_ns - edge.newest >= PARENT_ALIVE_NS
        may = blocker != child if edge.static else silent
        if may and len(kept) >= needed - 1:
            self._claims.pop(blocker, None)
            return kept
        self._claims[blocker] = (parent, child), [*kept, (int(stamp_ns), value)][-MANY:]
        raise error

    def _release(self, parent: str) -> None:
        self._parents[parent] -= 1
        if not self._parents[parent]:
            del self._parents[parent]

    def lookup(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        """Interpolated pose of one frame in another.

        Args:
            target: name of the frame that the pose is expressed in.
            source: name of the frame whose pose is looked up.
            stamp_ns: time of the pose, nanoseconds.

        Returns:
            (4, 4) float64, which maps points of source to target, metres.

        Raises:
            UnknownFrameError: no transform has one of the frames.
            UnconnectedFramesError: no chain of transforms connects the frames.
            TooEarlyError: the stamp is older than the oldest transform in the buffer.
            TooLateError: the stamp is newer than the newest transform.
            GapError: the transforms around the stamp lie further apart than `max_gap_ns`.
        """
        target, source = target.removeprefix("/"), source.removeprefix("/")
        with self._lock:
            for name in (target, source):
                if name not in self._edges and name not in self._parents:
                    raise UnknownFrameError(
                        f"no transform names the frame {name!r}; frames known: {self._some_names()}"
                    )
            up_source, up_target = self._ancestors(source), self._ancestors(target)
            common = next((name for name in up_source if name in up_target), None)
            if common is None:
                roots = f"{up_source[-1]!r} and {up_target[-1]!r}"
                raise UnconnectedFramesError(f"{source!r} and {target!r} are not connected: their roots are {roots}")
            return invert_pose(self._climb(target, common, stamp_ns)) @ self._climb(source, common, stamp_ns)

    def frames(self) -> list[str]:
        """Names of all frames, sorted."""
        with self._lock:
            return self._names()

    def ancestors(self, name: str) -> list[str]:
        """Names of a frame and of the frames above it, up to the root of its tree."""
        with self._lock:
            return self._ancestors(name.removeprefix("/"))

    def newest_stamp(self, child: str) -> int | None:
        """Stamp of the newest transform of a moving frame, nanoseconds; None for a static or unknown frame."""
        with self._lock:
            edge = self._edges.get(child.removeprefix("/"))
            return None if edge is None or edge.static else edge.stamps[-1]

    def clear(self) -> None:
        """Drop all moving transforms, as needed after a jump of the clock; static transforms are kept."""
        with self._lock:
            self._edges = {child: edge for child, edge in self._edges.items() if edge.static}
            self._parents, self._claims = {}, {}
            for edge in self._edges.values():
                self._parents[edge.parent] = self._parents.get(edge.parent, 0) + 1

    def span(self) -> tuple[int, int] | None:
        """Stamps of the oldest and the newest moving transform, nanoseconds; None without one."""
        with self._lock:
            moving = [edge.stamps for edge in self._edges.values() if not edge.static and edge.stamps]
            return (min(s[0] for s in moving), max(s[-1] for s in moving)) if moving else None

    def forget(self, children: Iterable[str]) -> None:
        """Drop the transforms of these frames."""
        with self._lock:
            for child in children:
                edge = self._edges.pop(child.removeprefix("/"), None)
                self._claims.pop(child.removeprefix("/"), None)
                if edge is not None:
                    self._release(edge.parent)

    def _some_names(self) -> str:
        """Names of frames for a message: not all where there are many, and none in full that is very long."""
        names = sorted(islice(dict.fromkeys([*islice(self._parents, NAMED), *islice(self._edges, NAMED)]), NAMED))
        count = len(self._edges) + sum(name not in self._edges for name in self._parents)
        more = f" and {count - len(names)} more" if count > len(names) else ""
        return ", ".join(name if len(name) < 100 else f"{name[:100]}..." for name in names) + more or "none"

    def _names(self) -> list[str]:
        return sorted(set(self._parents) | set(self._edges))

    def _ancestors(self, name: str) -> list[str]:
        chain = [name]
        while chain[-1] in self._edges and self._edges[chain[-1]].parent not in chain:
            chain.append(self._edges[chain[-1]].parent)
        return chain

    def _climb(self, name: str, ancestor: str, stamp_ns: int) -> np.ndarray:
        T = np.eye(4)
        while name != ancestor:
            edge = self._edges[name]
            T = edge.at(name, stamp_ns, self.max_gap_ns) @ T
            name = edge.parent
        return T


def checked_quaternion(parent: str, child: str, t: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, str]:
    """Check a transform before it is stored.

    Args:
        parent: name of the parent frame.
        child: name of the child frame.
        t: (3,) translation, metres.
        q: (4,) quaternion.

    Returns:
        (4,) unit quaternion, and a sentence if it had to be normalised.

    Raises:
        RejectedTransformError: `bad_transform`.
    """
    if not parent or not child or parent == child:
        raise RejectedTransformError(
            "bad_transform", f"a transform from {parent!r} to {child!r}: both frames need a name, and not the same"
        )
    if t.shape != (3,) or q.shape != (4,) or not (np.isfinite(t).all() and np.isfinite(q).all()):
        raise RejectedTransformError(
            "bad_transform",
            f"transform {parent!r} to {child!r} is not finite: translation {t.tolist()}, quaternion {q.tolist()}",
        )
    norm = float(np.linalg.norm(q))
    text = f"transform {parent!r} to {child!r} has the quaternion {q.tolist()} of length {norm:.4g}; it must be 1"
    if abs(norm - 1.0) > REPAIRABLE:
        raise RejectedTransformError("bad_transform", text)
    return q / norm, f"{text}, and is normalised" if abs(norm - 1.0) > QUATERNION_TOLERANCE else ""
