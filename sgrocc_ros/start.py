"""Starts the ROS 2 node `embodied_occupancy`; SIGINT and SIGTERM are heeded before its packages are imported.

Importing NumPy, ROS and an inference runtime takes a second or more, in which a signal would end the process as a
failure: launch and systemd send one when the start is cancelled. The node itself is in `node.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sgrocc_ros.stop import Stop


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM.

    Returns:
        Exit code: 0 after a clean stop, 1 when the node cannot start or the map cannot be saved.
    """
    stop = Stop()
    from sgrocc_ros.node import run

    if stop:
        print("stopped by a signal before the start was complete", file=sys.stderr)
        return 0
    return run(stop, arguments)


if __name__ == "__main__":
    sys.exit(main())
