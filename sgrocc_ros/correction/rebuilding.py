"""Builds the map again when its past is corrected: judges corrected poses, runs the rebuild, and swaps the map.

The rebuild is a process of its own at lower priority (`sgrocc_core/map_files/rebuild.py`), to which mapping gives way
if it falls behind (`share.py`). The old map serves until the new one is ready, and stays if the rebuild fails.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nav_msgs.msg import Path as PathMessage
from rclpy.node import Node
from std_srvs.srv import Trigger

from sgrocc_core.errors import SgroccError
from sgrocc_core.map_files.format import load_map
from sgrocc_core.map_files.keyframes import Keyframe
from sgrocc_core.map_files.rebuild import RebuildJob
from sgrocc_core.mapping.mapper import OccupancyMapper
from sgrocc_ros.correction.corrected_poses import CorrectedPoses, Judgement, judge, read_path
from sgrocc_ros.correction.keeping import KeyframeKeeper
from sgrocc_ros.correction.share import RebuildShare
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.health.threads import LastingThread
from sgrocc_ros.input.follower import Follower
from sgrocc_ros.input.poses import Poses
from sgrocc_ros.keeper import Keeper
from sgrocc_ros.output.outputs import Outputs
from sgrocc_ros.parameters.values import Parameters
from sgrocc_ros.services import SERVICE_QOS
from sgrocc_ros.worker import Worker

FOLDER = ".rebuild"
"""Folder in `map_path` of the job and of the new map; removed afterwards."""
PAUSE = 0.2
"""Seconds after which the thread looks whether it is to end."""
LEAST = 3
"""Keyframes below which nothing is judged."""


class Rebuilder(LastingThread):
    """Follows `~/poses`, offers `~/rebuild`, and swaps rebuilt maps in between two frames.

    Args:
        node: owns the subscription and the service.
        parameters: parameters of the node.
        mapper: holds the map.
        keeping: the keyframes.
        poses: looks up transforms.
        statistics: counts what cannot be used.
        worker: the mapping thread.
        outputs: publishes the new map.
        keeper: saves it.
    """

    def __init__(
        self,
        node: Node,
        parameters: Parameters,
        mapper: OccupancyMapper,
        keeping: KeyframeKeeper,
        poses: Poses,
        statistics: Statistics,
        worker: Worker,
        outputs: Outputs,
        keeper: Keeper,
    ) -> None:
        super().__init__("rebuilder", statistics)
        self._node, self._parameters, self._mapper, self._keeping = node, parameters, mapper, keeping
        self._poses, self._worker, self._outputs, self._keeper = poses, worker, outputs, keeper
        self._folder = keeping.store.folder.parent / FOLDER
        self._lock, self._changed = threading.Lock(), threading.Event()
        self._path: PathMessage | None = None
        self._asked = False
        self._newest = CorrectedPoses([], np.zeros((0, 4, 4)))
        self._epoch = 0  # counts maps that were emptied or loaded, of which no rebuild is wanted any more
        self._process: subprocess.Popen[str] | None = None
        self._time = worker.share = RebuildShare(worker.wake)
        self._state, self._progress, self._share = "idle", (0, 0), 0.0
        self.rebuilt = self.failed_rebuilds = 0
        shutil.rmtree(self._folder, ignore_errors=True)
        topic = [(node.resolve_topic_name("~/poses"), PathMessage)]
        self.follower = Follower(node, topic, self._on_path, 1, parameters["reliability"], True)
        node.create_service(Trigger, "~/rebuild", self._on_rebuild, qos_profile=SERVICE_QOS)

    def step(self) -> bool:
        """Judge the newest corrected poses; rebuild the map if enough moved, or if it was asked for."""
        if not self._changed.wait(PAUSE):
            return False
        self._changed.clear()
        with self._lock:
            message, self._path = self._path, None
            asked, self._asked = self._asked, False
            epoch = self._epoch
        keyframes = self._keeping.store.keyframes
        if message is not None:
            try:
                self._newest = read_path(message, self._parameters["map_frame"])
            except ValueError as error:
                self._statistics.notice("poses_unused", f"the corrected poses are not used: {error}")
            if self._newest.refused:
                self._statistics.notice("poses_unused", f"a corrected pose is not used: {self._newest.refused}")
        corrected = self._newest
        if len(keyframes) < LEAST or not (asked or corrected.stamps):
            return True
        judged = self._judge(keyframes, corrected, asked)
        if judged is None:
            return True
        self._share = judged.share
        if asked or judged.share >= self._parameters["rebuild_share"]:
            self._rebuild(judged, epoch)
        return True

    def _judge(self, keyframes: list[Keyframe], corrected: CorrectedPoses, asked: bool) -> Judgement | None:
        body = str(self._parameters["base_frame"])
        if corrected.stamps and not body and len(self._parameters.cameras) > 1:
            self._statistics.notice(
                "poses_unused",
                "the corrected poses are not used: with several cameras base_frame must name their frame",
            )
            return None
        by_tf = str(self._parameters["map_frame"]) if asked else ""
        judged = judge(keyframes, self._keeping.trail(), corrected, body, self._poses.lookup, by_tf)
        if not judged.anchors and not asked:
            self._statistics.notice(
                "poses_unused",
                f"the corrected poses are not used: none of their {len(corrected.stamps)} stamps lies among those of "
                f"the {len(keyframes)} keyframes",
            )
            return None
        return judged

    def facts(self) -> dict[str, str]:
        """Return the values for /diagnostics."""
        store, (done, total) = self._keeping.store, self._progress
        return {
            "keyframes": str(len(store.keyframes)),
            "keyframes.mb": f"{store.bytes / 1e6:.1f}",
            "keyframes.lost": str(self._keeping.lost),
            "rebuild": self._state,
            "rebuild.done": str(done),
            "rebuild.total": str(total),
            "rebuild.frames": str(self._time.frames),
            "rebuild.held_s": f"{self._time.held:.1f}",
            "rebuild.moved_share": f"{self._share:.3f}",
            "rebuild.count": str(self.rebuilt),
            "rebuild.failed": str(self.failed_rebuilds),
        }

    def forget(self, until_ns: int | None) -> None:
        """Remove the keyframes after a stamp (ns; None: all), because another map begins; on the worker's thread."""
        with self._lock:
            self._epoch += 1
            self._path, self._asked = None, False
            self._newest = CorrectedPoses([], np.zeros((0, 4, 4)))
        self._end_process()
        self._keeping.forget(until_ns)

    def stop(self) -> None:
        """End a rebuild, and the thread."""
        self._stopping = True
        self._end_process()
        self.join(10 * PAUSE)

    def _end_process(self) -> None:
        process = self._process
        if process is not None:
            process.terminate()

    def _on_path(self, message: PathMessage) -> None:
        with self._lock:
            self._path = message
        self._changed.set()

    def _on_rebuild(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        count = len(self._keeping.store.keyframes)
        response.success = self._state == "idle" and count >= LEAST
        if not response.success:
            response.message = "a rebuild is running" if count >= LEAST else f"only {count} keyframes are kept so far"
            return response
        with self._lock:
            self._asked = True
        self._changed.set()
        response.message = f"the map is built again from {count} keyframes; progress is in /diagnostics"
        return response

    def _rebuild(self, judged: Judgement, epoch: int) -> None:
        start = time.monotonic()
        self._state, self._progress = "running", (0, len(judged.poses))
        log = self._node.get_logger()
        log.info(f"{100 * judged.share:.0f} % of {len(judged.poses)} keyframes moved: the map is built again")
        shutil.rmtree(self._folder, ignore_errors=True)
        try:
            error = self._run(judged)
            if self._stopping or self._is_over(epoch):
                return
            if error:
                self._fail(error)
                return
            self._time.end()
            self._state = "swapping"
            late = self._swap(judged, epoch)
            log.info(f"the map of {len(judged.poses)} keyframes is in use after {time.monotonic() - start:.0f} s, "
                     f"{late} keyframes follow")  # fmt: skip
        except (SgroccError, OSError) as failure:
            self._fail(str(failure))
        finally:
            self._time.end()
            self._state = "idle"
            shutil.rmtree(self._folder, ignore_errors=True)

    def _is_over(self, epoch: int) -> bool:
        with self._lock:
            return epoch != self._epoch

    def _fail(self, why: str) -> None:
        self.failed_rebuilds += 1
        self._statistics.notice("rebuild_failed", f"the map is not built again and stays as it is: {why}")

    def _run(self, judged: Judgement) -> str:
        """Run the process to its end; return why it failed, or an empty text."""
        p = self._parameters
        self._folder.mkdir(parents=True)
        poses = [(number, pose.ravel().tolist()) for number, pose in judged.poses.items()]
        job = self._folder / "job.json"
        RebuildJob(
            str(self._keeping.store.folder), str(self._folder), p["model"], p["engine"], p["device"], p["map_frame"],
            asdict(self._mapper.config), poses, precision=p["precision"],
        ).write(job)  # fmt: skip
        command = [sys.executable, "-m", "sgrocc_core.map_files.rebuild", str(job)]
        with (self._folder / "log").open("w+") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
            if self._stopping:
                self._process.terminate()
            self._time.begin()
            assert self._process.stdout is not None
            for line in self._process.stdout:
                words = line.split()
                if len(words) == 2 and all(word.isdigit() for word in words):
                    self._progress = int(words[0]), int(words[1])
                    self._time.advance(self._progress[0])
            code = self._process.wait()
            self._process = None
            log.seek(0)
            said = log.read().strip().splitlines()
        return "" if code == 0 else f"its process ended with code {code}{f': {said[-1]}' if said else ''}"

    def _swap(self, judged: Judgement, epoch: int) -> int:
        """Put the new map in use; return the number of keyframes that were mapped meanwhile and follow."""
        saved = load_map(self._folder)
        saved.check_fits(self._mapper.engine.spec, self._parameters["map_frame"])
        prepared = self._mapper.map.prepared(saved.gaussians)
        whole = prepared.voxel_map.occupied()
        last = max(_mapped(self._folder))

        def take() -> int:
            if self._is_over(epoch):
                return -1
            self._mapper.map.take(prepared)
            self._worker.changes += 1
            self._worker.restart_gates()
            self._outputs.replace(self._worker.newest_stamp, *whole)
            return self._worker.newest_stamp

        stamp = self._worker.result(take)
        if stamp < 0:
            return 0
        self.rebuilt += 1
        store = self._keeping.store
        self._keeping.correct(judged.field, stamp)
        store.set_poses(judged.poses, write=False)
        self._keeper.save_then(store.write_index)  # poses on disk are those of the map on disk
        self._keeping.flush()
        late = [keyframe for keyframe in store.keyframes if keyframe.number > last and keyframe.stamp_ns <= stamp]
        for keyframe in late:
            self._worker.result(partial(self._add, keyframe, epoch))
        return len(late)

    def _add(self, keyframe: Keyframe, epoch: int) -> None:
        """Map a keyframe of the time of the rebuild into the new map; runs on the worker's thread."""
        if self._is_over(epoch):
            return
        try:
            update = self._mapper.step(self._keeping.store.load(keyframe))
        except SgroccError as error:
            self._statistics.notice("rebuild_failed", f"a keyframe is missing in the new map: {error}")
            return
        self._worker.changes += 1
        self._outputs.change(update)


def _mapped(folder: Path) -> list[int]:
    """Numbers of the keyframes that a rebuild has looked at."""
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return [0, *report["mapped"], *report["left_out"]]
