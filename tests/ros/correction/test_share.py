"""A rebuild has its share of the time beside mapping, and no more."""

from __future__ import annotations

from sgrocc_ros.correction.share import AHEAD, MOST_IN_VAIN, PATIENCE, RebuildShare


class _Machine:
    """A worker that always has an image, and a rebuild that gets nothing while frames are mapped; seconds by count."""

    def __init__(self, frame: float = 0.2, keyframe: float = 0.3) -> None:
        self.now, self.done, self.frames = 0.0, 0, 0
        self._frame, self._keyframe, self._spent = frame, keyframe, 0.0
        self.share = RebuildShare(lambda: None, lambda: self.now)

    def rebuild(self, keyframes: int, most: int = 1000) -> None:
        """Run until so many keyframes are done, or `most` frames mapped."""
        self.share.begin()
        while self.done < keyframes and self.frames < most:
            self.turn()
        self.share.end()

    def turn(self) -> None:
        """Map a frame, after what the rebuild is given first."""
        until = self.share.before_frame()
        while until > self.now:
            step = min(until - self.now, self._keyframe - self._spent)
            self.now, self._spent = self.now + step, self._spent + step
            if self._spent >= self._keyframe - 1e-9:
                self.done, self._spent = self.done + 1, 0.0
                self.share.advance(self.done)
            until = self.share.before_frame()
        self.now += self._frame
        self.frames += 1
        self.share.mapped(self._frame)


def test_beside_a_rebuild_there_are_two_frames_for_three_keyframes_and_a_few():
    machine = _Machine()
    machine.rebuild(99)
    assert machine.done in (99, 100) and machine.frames <= 67 + AHEAD


def test_a_rebuild_whose_keyframes_take_longer_than_a_hold_has_half_of_the_time():
    machine = _Machine(keyframe=3 * PATIENCE)
    machine.rebuild(10)
    assert machine.done == 10
    assert 0.4 < machine.share.held / machine.now < 0.6


def test_a_rebuild_that_hangs_no_longer_delays_mapping():
    machine = _Machine(keyframe=1e9)
    machine.rebuild(1, most=2000)
    held = machine.share.held
    assert abs(held - MOST_IN_VAIN * PATIENCE) < 1e-6
    machine.turn()
    assert machine.share.held == held


def test_a_rebuild_that_goes_on_after_it_has_hung_has_its_share_again():
    machine = _Machine(keyframe=1e9)
    machine.share.begin()
    for _ in range(2000):
        machine.turn()
    held = machine.share.held
    machine.share.advance(1)
    machine.turn()
    machine.turn()
    assert machine.share.held > held


def test_a_rebuild_with_keyframes_in_advance_delays_nothing():
    machine = _Machine()
    machine.share.begin()
    machine.share.advance(75)
    for _ in range(50):
        machine.turn()
    assert machine.share.held == 0.0 and machine.done == 0


def test_without_a_rebuild_nothing_is_delayed():
    machine = _Machine()
    for _ in range(3 * AHEAD):
        machine.turn()
    machine.rebuild(5)
    held = machine.share.held
    for _ in range(3 * AHEAD):
        machine.turn()
    assert machine.share.held == held


def test_only_frames_mapped_during_a_rebuild_are_counted():
    machine = _Machine()
    machine.turn()
    assert machine.share.frames == 0
    machine.rebuild(5)
    meanwhile = machine.share.frames
    machine.turn()
    assert machine.share.frames == meanwhile > 0
