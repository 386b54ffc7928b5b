"""A model from rooms alone in one run: rooms and videos are rendered while the stages train one after another.

Made for a machine with a GPU and many cores. Image engine, features fitted to another model's, then the expert and
stereo side by side, and the calibrated spread of depth; the result is one weights file with all networks.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sgrocc_core.errors import ConfigError, DataError
from sgrocc_core.network import weights_file
from sgrocc_core.training.data.rendering import RenderConfig, RoomRenderer

VIDEO_FRAMES = 20
"""Frames of a video."""
MOST_VIDEOS = 100_000
"""Number of videos that is never reached: they are made until the training ends."""
STEREO = "stereo."
"""Prefix of the stereo network's tensors."""


@dataclass(frozen=True)
class Chain:
    """What a chain of stages trains, and on what.

    Attributes:
        config: training configuration with the stages `image`, `expert` and `stereo`.
        out: folder of the run.
        like: model whose expert is taken over.
        jobs: processes that render; a quarter of them, at least one, make videos.
        start: weights to start from; None: the model's own.
        assets: folder of furniture models, or None.
        edition: edition of the rooms, 1 or 2, or 0 for both in turn.
        seed: of the rooms.

    Raises:
        ConfigError: there are too few processes.
    """

    config: Path
    out: Path
    like: str
    jobs: int = 2
    start: Path | None = None
    assets: Path | None = None
    edition: int = 2
    seed: int = 9000

    def __post_init__(self) -> None:
        if not 2 <= self.jobs <= 256:
            raise ConfigError(
                f"--jobs is {self.jobs}; it must be from 2 to 256: rooms and videos are rendered side by side"
            )

    @property
    def rooms(self) -> Path:
        """Folder of packed rooms."""
        return self.out / "rooms"

    @property
    def videos(self) -> Path:
        """Root of the set of videos."""
        return self.out / "videos"

    def weights(self, stage: str) -> Path:
        """Path of a stage's weights."""
        return self.out / f"{stage}.weights.safetensors"


def command(*words: object) -> list[str]:
    """Returns the command line of `sgrocc` with these words, in this interpreter."""
    return [sys.executable, "-m", "sgrocc_core.cli", *map(str, words)]


def video_command(chain: Chain, jobs: int) -> list[str]:
    """Returns the command line that makes videos until it is ended.

    Args:
        chain: what is trained.
        jobs: number of processes.
    """
    words: list[str | Path] = ["synth", "--video", "--edition", str(chain.edition), "--out", chain.videos]
    words += ["--scenes", str(MOST_VIDEOS), "--frames", str(VIDEO_FRAMES), "--size", "320x240"]
    words += ["--jobs", str(jobs), "--seed", str(chain.seed + 1)]
    return command(*words, *(["--assets", chain.assets] if chain.assets is not None else []))


@contextlib.contextmanager
def running(words: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in the background; it is ended with the context.

    Args:
        words: the command.
        log: file for what it prints.
    """
    with log.open("wb") as written:
        process = subprocess.Popen(words, stdout=written, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def finish(words: Sequence[str]) -> None:
    """Run a command to its end.

    Raises:
        DataError: it fails; what it prints says why.
    """
    code = subprocess.run(words, check=False).returncode
    if code:
        raise DataError(
            f"the training ended early: `{' '.join(words[1:])}` exited with code {code}; its error is above"
        )


def train_chain(chain: Chain) -> dict[str, float]:
    """Train a model from rooms alone.

    Args:
        chain: what to train; OUT/model.safetensors has all networks in the end.

    Returns:
        seconds of each part, by name. They are in OUT/chain.json, too.

    Raises:
        DataError: a stage fails. The weights of those before it are kept.
    """
    from sgrocc_core.data.assets.config import AssetConfig
    from sgrocc_core.data.assets.library import prepare_all

    chain.out.mkdir(parents=True, exist_ok=True)
    assets = None if chain.assets is None else AssetConfig(chain.assets)
    if assets is not None:
        prepare_all(assets, chain.jobs)  # once, before two renderers need them
    videos = max(1, chain.jobs // 4)
    rooms = RenderConfig(
        chain.rooms,
        keep=10**5,
        frames=10,
        seed=chain.seed,
        jobs=chain.jobs - videos,
        assets=assets,
        edition=chain.edition,
    )
    with (
        RoomRenderer(rooms, least=2 * rooms.jobs) as renderer,
        running(video_command(chain, videos), chain.out / "videos.log"),
    ):
        renderer()
        spent = _stages(chain)
    (chain.out / "chain.json").write_text(json.dumps({"seconds": spent}, indent=1))
    return spent


def _stages(chain: Chain) -> dict[str, float]:
    """Train one stage after another while rooms are rendered; returns the seconds of each."""
    local = ["train", "local", "--config", chain.config, "--data", chain.rooms, "--out", chain.out]
    spent: dict[str, float] = {}

    def note(part: str, begun: float) -> None:
        spent[part] = round(time.monotonic() - begun, 1)

    begun = time.monotonic()
    start = ["--start", chain.start] if chain.start is not None else []
    finish(command(*local, "--stage", "image", *start))
    note("image", begun)
    begun = time.monotonic()
    aligned = ["train", "align", "--config", chain.config, "--data", chain.rooms, "--like", chain.like]
    finish(command(*aligned, "--start", chain.weights("image"), "--out", chain.out))
    note("align", begun)
    begun = time.monotonic()
    stereo = ["train", "stereo", "--config", chain.config, "--data", chain.videos, "--out", chain.out]
    with running(command(*stereo, "--start", chain.weights("aligned")), chain.out / "stereo.log") as beside:
        finish(command(*local, "--stage", "expert", "--start", chain.weights("aligned")))
        note("expert", begun)
        code = beside.wait()
    note("stereo", begun)
    if code:
        raise DataError(
            f"the expert is trained, {chain.weights('expert')}; stereo ended with code {code}: "
            f"its error is in {chain.out / 'stereo.log'}"
        )
    begun = time.monotonic()
    join(chain.weights("expert"), chain.weights("stereo"), chain.weights("all"))
    calibrated = ["train", "calibrate", "--config", chain.config, "--data", chain.videos, "--out", chain.out]
    finish(command(*calibrated, "--start", chain.weights("all")))
    chain.weights("calibrated").replace(chain.out / "model.safetensors")
    note("calibrate", begun)
    return spent


def join(networks: Path, stereo: Path, out: Path) -> None:
    """Write the networks of one weights file with the stereo network of another.

    Args:
        networks: weights file of all but stereo.
        stereo: weights file with a stereo network.
        out: file to write.
    """
    kept = {name: value for name, value in weights_file.read_weights(networks).items() if not name.startswith(STEREO)}
    added = {name: value for name, value in weights_file.read_weights(stereo).items() if name.startswith(STEREO)}
    weights_file.save_model(out, {}, {**kept, **added})
