"""Videos to compare depth on: scenes of a set whose frames follow each other, or a bag with depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sgrocc_core.data.bags import BagOptions, BagReader
from sgrocc_core.data.occ_scannet import OccScanNet
from sgrocc_core.frame import Frame

FRAME_NS = 100_000_000
"""Time between the frames of a set's scene, nanoseconds: the sets have no clock."""


class SceneVideo:
    """One scene of a set, read frame by frame.

    Args:
        data: the set.
        indices: of the scene's samples, in order.
    """

    def __init__(self, data: OccScanNet, indices: list[int]) -> None:
        self.data, self.indices = data, indices

    def __iter__(self) -> Iterator[Frame]:
        for number, index in enumerate(self.indices):
            sample = self.data[index]
            yield Frame(sample.image, sample.K, sample.T_wc, (number + 1) * FRAME_NS, sample.depth)


class BagVideo:
    """A bag as one video; images without depth are left out.

    Args:
        path: of the bag.
        frames: at most so many, 0 = all.
    """

    def __init__(self, path: Path, frames: int = 0) -> None:
        self.path, self.frames = path, frames

    def __iter__(self) -> Iterator[Frame]:
        with BagReader(self.path, BagOptions(depth_source="topic")) as reader:
            for number, frame in enumerate(reader):
                if self.frames and number >= self.frames:
                    return
                yield frame


def open_videos(
    path: Path, split: str, size: tuple[int, int] | None, limit: int = 0, frames: int = 0
) -> Sequence[SceneVideo | BagVideo]:
    """The videos under a path.

    Args:
        path: a set in the layout of Occ-ScanNet (`sgrocc synth --video`), or a bag.
        split: one of the set's lists.
        size: (width, height) that the set's images are read at; None: as they are.
        limit: at most so many scenes, spread evenly, 0 = all.
        frames: at most the first so many of each, 0 = all.

    Raises:
        DataError: neither a set nor a bag, or an empty list.
    """
    if not ((path / "occscannet").is_dir() or (path / "gathered_data").is_dir()):
        return [BagVideo(path, frames)]
    data = OccScanNet(path, split, size)
    scenes: dict[str, list[int]] = {}
    for index, (scene, _) in enumerate(data.names):
        scenes.setdefault(scene, []).append(index)
    indices = [sorted(numbers, key=lambda i: data.names[i][1]) for numbers in scenes.values()]
    step = max(1, -(-len(indices) // limit)) if limit else 1
    return [SceneVideo(data, numbers[: frames or None]) for numbers in indices[::step]]
