"""Jobs wait in order; those that tell only the newest wait once; changes of the map are bounded."""

from __future__ import annotations

from sgrocc_ros.output.backlog import MOST_CHANGES, Backlog


def drained(backlog: Backlog) -> None:
    """Do all jobs."""
    while (job := backlog.get(0.0)) is not None:
        job()


def test_jobs_are_done_in_order_and_a_named_one_waits_only_once():
    backlog, done = Backlog(), []
    for name in ("a", "b"):
        backlog.put(lambda name=name: done.append(name))
        backlog.put_once("snapshot", lambda name=name: done.append(f"snapshot {name}"))
    drained(backlog)
    assert done == ["a", "snapshot a", "b"]
    backlog.put_once("snapshot", lambda: done.append("again"))
    drained(backlog)
    assert done[-1] == "again"


def test_changes_that_are_dropped_are_settled_and_other_jobs_stay():
    backlog, done, left_out = Backlog(), [], []
    backlog.put(lambda: done.append("kept"))
    for i in range(MOST_CHANGES):
        assert not backlog.is_full
        backlog.put_change(lambda i=i: done.append(i), lambda i=i: left_out.append(i))
    assert backlog.is_full
    backlog.drop_changes()
    assert not backlog.is_full and left_out == list(range(MOST_CHANGES))
    drained(backlog)
    assert done == ["kept"]
