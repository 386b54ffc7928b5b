"""Targets of a recording: a file, which gets its name only when it is complete, or a viewer started for it."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import rerun as rr
from rerun.chunk import RrdReader

from sgrocc_core.errors import ViewerError

APPLICATION = "sgrocc"
OLDEST_RERUN = [0, 41]
FILE_BATCH = 8 << 20
"""Bytes written together; rows of one entity that are written together take less space."""
START_SECONDS = 30.0
"""Maximum time until the viewer listens."""
SETTLE_SECONDS = 1.5
"""Time after which a listening viewer has found a screen and graphics; without them it exits earlier."""
SEND_SECONDS = 120.0
"""Maximum time for the viewer to receive the rest of the recording."""
INSTEAD = "write a file with --save FILE.rrd instead, and open it where there is a screen"


class ViewerClosedError(Exception):
    """The user has closed the viewer's window. This is not an error, but logging can stop."""


@contextmanager
def to_file(path: Path, name: str) -> Iterator[tuple[rr.RecordingStream, Callable[[], None]]]:
    """Open a recording into a file; an existing file is replaced.

    After an interrupt (KeyboardInterrupt, SystemExit) the file holds everything logged so far; after any other error no
    file is left.

    Args:
        path: The file, .rrd.
        name: Name of the recording in the viewer.

    Yields:
        The recording, and a function that raises ViewerError if the file can no longer be written.

    Raises:
        ViewerError: The file cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    stream = _stream(name, rr.ChunkBatcherConfig(flush_tick=3600.0, flush_num_bytes=FILE_BATCH))
    interrupt: BaseException | None = None
    try:
        writer = _Writer(stream, part, f"cannot write {path}")
        try:
            yield stream, writer.check
        except (KeyboardInterrupt, SystemExit) as error:
            interrupt = error
        finally:
            writer.finish()
        os.replace(part, path)
    finally:
        with suppress(OSError):
            part.unlink()
    if interrupt is not None:
        raise interrupt


class _Writer:
    """Writes a stream to a file on its own thread, because Rerun's writer blocks forever when the disk is full."""

    def __init__(self, stream: rr.RecordingStream, path: Path, failure: str) -> None:
        self._stream, self._path, self._failure, self._error = stream, path, failure, ""
        with self._named():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")
        source, sink = os.pipe()
        self._thread = threading.Thread(target=self._run, args=(source,), daemon=True)
        self._thread.start()
        try:
            stream.save(f"/dev/fd/{sink}")
        finally:
            os.close(sink)

    def _run(self, source: int) -> None:
        with open(source, "rb", buffering=0) as pipe:
            while data := pipe.read(1 << 20):
                try:
                    if not self._error:
                        self._file.write(data)
                except OSError as error:
                    self._error = str(error)  # the rest is read and discarded, so that the stream can end

    def check(self) -> None:
        """Raise ViewerError if a write has failed."""
        if self._error:
            raise ViewerError(f"{self._failure}: {self._error}")

    def finish(self) -> None:
        """Write the rest and check that the file can be read."""
        self._stream.flush()
        self._stream.disconnect()
        self._thread.join()
        with self._named():
            self._file.close()
        self.check()
        with self._named(), warnings.catch_warnings():
            warnings.simplefilter("error")  # a missing end of the file is only a warning
            RrdReader(self._path).recordings()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, Warning) as error:
            raise ViewerError(f"{self._failure}: {error}") from error


class Viewer:
    """Rerun's viewer in a separate process that outlives this one; it listens on this machine only.

    Args:
        arguments: Additional arguments of the program `rerun`.

    Attributes:
        url: Address to connect a recording to.
        process: The viewer's process.

    Raises:
        ViewerError: The viewer cannot be started; the message contains its last error.
    """

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        port = _free_port()
        self.url = f"rerun+http://127.0.0.1:{port}/proxy"
        command = [str(_program()), "--port", str(port), "--bind", "127.0.0.1", "--hide-welcome-screen", *arguments]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True,
            env=os.environ | {"RERUN_APP_ONLY": "true"},
        )  # fmt: skip
        end = time.monotonic() + START_SECONDS
        while not _listens(port):
            self.check()
            if time.monotonic() > end:
                self.process.kill()
                raise ViewerError(f"the viewer did not start within {START_SECONDS:g} s; {INSTEAD}")
            time.sleep(0.05)
        settled = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < settled:
            self.check()
            time.sleep(0.05)

    def check(self) -> None:
        """Check that the viewer is running.

        Raises:
            ViewerClosedError: The user has closed it.
            ViewerError: It has ended otherwise.
        """
        code = self.process.poll()
        if code == 0:
            raise ViewerClosedError
        if code is not None:
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise ViewerError(f"the viewer {how}{_last_error(self._log)}; {INSTEAD}")


@contextmanager
def to_viewer(viewer: Viewer, name: str) -> Iterator[rr.RecordingStream]:
    """Open a recording into a viewer; at the end all data has arrived there.

    Args:
        viewer: The viewer.
        name: Name of the recording in the viewer.

    Yields:
        The recording.

    Raises:
        ViewerError: The viewer has ended, or does not accept the data.
        ViewerClosedError: The user has closed it.
    """
    stream = _stream(name, None)
    stream.connect_grpc(viewer.url)
    try:
        yield stream
        viewer.check()
        try:
            stream.flush(timeout_sec=SEND_SECONDS)
        except RuntimeError as error:
            viewer.check()
            raise ViewerError(f"the viewer does not take the recording: {error}") from error
    finally:
        stream.disconnect()


def check_display() -> None:
    """Raise ViewerError if there is no display."""
    if sys.platform.startswith("linux") and not any(
        os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET")
    ):
        raise ViewerError(f"there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set); {INSTEAD}")


def _stream(name: str, batching: rr.ChunkBatcherConfig | None) -> rr.RecordingStream:
    if [int(n) for n in rr.__version__.split(".")[:2]] < OLDEST_RERUN:
        raise ViewerError(
            f"rerun-sdk {rr.__version__} is installed; it must be {OLDEST_RERUN[0]}.{OLDEST_RERUN[1]} or newer"
        )
    rr.set_strict_mode(True)  # invalid arrays raise errors instead of warnings
    stream = rr.RecordingStream(APPLICATION, batcher_config=batching)
    if not rr.is_enabled(stream):
        value = os.environ.get("RERUN", "")
        raise ViewerError(
            f"Rerun is switched off: the environment variable RERUN is {value!r}; it must be on, or unset"
        )
    stream.set_log_time_enabled(False)
    stream.set_log_tick_enabled(False)
    stream.send_recording_name(name)
    return stream


def _program() -> Path:
    """The program `rerun` of the installed package, independent of PATH."""
    found = importlib.util.find_spec("rerun_cli")
    program = Path(found.origin or "").with_name("rerun") if found else Path()
    if not program.is_file():
        raise ViewerError(f"the package rerun-sdk has no viewer here; {INSTEAD}")
    return program


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _last_error(log: IO[bytes]) -> str:
    """The last error that the viewer printed, after a colon; empty if there is none."""
    log.seek(0)
    errors = [line for line in log.read().decode(errors="replace").splitlines() if line.startswith("Error: ")]
    return f": {errors[-1].removeprefix('Error: ')}" if errors else ""
