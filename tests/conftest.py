"""Makes `tests.samples` and `tests.ros.harness` importable, whichever way pytest is started, and Ctrl-C work."""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun in the background: children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
