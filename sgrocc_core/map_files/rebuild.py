"""Builds a map again from its keyframes with corrected poses, in a process of its own at lower priority.

`python -m sgrocc_core.map_files.rebuild JOB` reads a job, maps the keyframes, and those that are added meanwhile, and
saves the map in the job's folder. It prints a line `DONE TOTAL` for each keyframe. Keyframes and the map that they
belong to are only read, so that nothing is lost if the process is killed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sgrocc_core.errors import SgroccError
from sgrocc_core.map_files.file import MapFolder, SavedMap
from sgrocc_core.map_files.keyframes import Keyframe, KeyframeStore
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper

NICENESS = 5
"""Priority of the process: a third of the weight of the node's threads, which also give way to it
(`sgrocc_ros/correction/share.py`). At 15, on cores that are never idle, it got nothing."""
ROUNDS, FEW = 5, 2
"""Keyframes that are added meanwhile are mapped, too, in ROUNDS rounds or until at most FEW are new."""


@dataclass(frozen=True)
class RebuildJob:
    """What the process is told.

    Attributes:
        keyframes: folder of the keyframes.
        out: folder that the map is saved in.
        model: name or path of the model.
        engine: runtime of the model, `auto` or a name.
        device: device of the model.
        map_frame: frame of the map.
        config: fields of the mapper's configuration.
        poses: (number, 16 numbers) of the keyframes whose poses are corrected; those of the others hold.
        threads: threads of the runtime, 0: its own choice.
        precision: of the networks, as in `open_engine`.
    """

    keyframes: str
    out: str
    model: str
    engine: str
    device: str
    map_frame: str
    config: dict[str, Any]
    poses: list[tuple[int, list[float]]] = field(default_factory=list)
    threads: int = 1
    precision: str = "fp32"

    def write(self, file: Path) -> None:
        """Write the job for `read`."""
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, file: Path) -> RebuildJob:
        """Read a job that `write` has written."""
        return cls(**json.loads(file.read_text()))


@dataclass(frozen=True)
class Rebuilt:
    """What was mapped.

    Attributes:
        mapped: numbers of the keyframes in the map.
        left_out: numbers of the keyframes that could not be read or mapped.
        stamp_ns: newest stamp, nanoseconds.
    """

    mapped: list[int]
    left_out: list[int]
    stamp_ns: int


def rebuild(
    mapper: OccupancyMapper,
    store: KeyframeStore,
    poses: dict[int, np.ndarray],
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Rebuilt:
    """Map all keyframes of a folder, and those that are added to it meanwhile.

    Args:
        mapper: an empty mapper.
        store: the keyframes.
        poses: corrected poses, (4, 4) by number; those of other keyframes hold.
        told: called with the number of keyframes done and known so far.
    """
    mapped: list[int] = []
    left_out: list[int] = []
    stamp, last = 0, 0
    for _ in range(ROUNDS):
        new: list[Keyframe] = [keyframe for keyframe in store.keyframes if keyframe.number > last]
        if len(new) <= FEW and last:
            break
        for left, keyframe in zip(range(len(new) - 1, -1, -1), new):
            last = keyframe.number
            try:
                mapper.step(store.load(keyframe, poses.get(keyframe.number)))
            except SgroccError:  # a damaged file, or one that was removed to make room
                left_out.append(keyframe.number)
                continue
            mapped.append(keyframe.number)
            stamp = max(stamp, keyframe.stamp_ns)
            told(len(mapped) + len(left_out), len(mapped) + len(left_out) + left)
        store.read()
    return Rebuilt(mapped, left_out, stamp)


def run(job: RebuildJob, told: Callable[[int, int], None]) -> Rebuilt:
    """Do a job: build the map and save it in the job's folder, with what was mapped in its report."""
    from sgrocc_core.engines.open import open_engine

    engine = open_engine(job.model, job.engine, job.device, job.threads, job.precision)
    mapper = OccupancyMapper(engine, MapperConfig(**job.config))
    poses = {number: np.array(pose).reshape(4, 4) for number, pose in job.poses}
    result = rebuild(mapper, KeyframeStore(job.keyframes), poses, told)
    saved = SavedMap.of(mapper.map, job.map_frame, result.stamp_ns)
    MapFolder(job.out).save(saved, asdict(result), picture=False)
    return result


def main() -> int:
    """Do the job in the file that is named."""
    os.nice(NICENESS)
    try:
        run(RebuildJob.read(Path(sys.argv[1])), lambda done, total: print(done, total, flush=True))
    except (SgroccError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
