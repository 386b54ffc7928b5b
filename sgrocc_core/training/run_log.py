"""The log of a training run: a JSON line for each set of figures, TensorBoard scalars, and a progress bar."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm


class RunLog:
    """Log of one stage: OUT/STAGE.jsonl and OUT/tensorboard/STAGE.

    Args:
        out: folder of the run; it is created if necessary.
        stage: name of the stage.
        step: step at which the run starts or resumes; entries of later steps in an earlier log are dropped, because
            these steps are taken again.
    """

    def __init__(self, out: Path, stage: str, step: int = 0) -> None:
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{stage}.jsonl"
        kept = (
            [line for line in path.read_text().splitlines() if _step_of(line) <= step]
            if step and path.is_file()
            else []
        )
        path.write_text("".join(f"{line}\n" for line in kept))
        self._lines = path.open("a")
        self._board = SummaryWriter(str(out / "tensorboard" / stage), purge_step=step + 1)  # type: ignore[no-untyped-call]
        self._bar = tqdm(total=100, desc=stage, bar_format="{l_bar}{bar}| {elapsed}{postfix}", mininterval=5)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        self._lines.close()
        self._board.close()  # type: ignore[no-untyped-call]

    def note(self, kind: str, step: int, seconds: float, values: dict[str, float]) -> None:
        """Write figures.

        Args:
            kind: `train` or `heldout`.
            step: number of steps taken.
            seconds: training time so far, seconds.
            values: the figures, by name.
        """
        rounded = {name: round(value, 5) for name, value in values.items()}
        self._lines.write(json.dumps({"kind": kind, "step": step, "seconds": round(seconds, 1), **rounded}) + "\n")
        self._lines.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)  # type: ignore[no-untyped-call]

    def show(self, done: float, text: str) -> None:
        """Set the progress bar.

        Args:
            done: share of the run, 0..1.
            text: shown beside the bar.
        """
        self._bar.n = round(100 * done)
        self._bar.set_postfix_str(text)


class NoLog(RunLog):
    """The log of all processes but the first: it writes nothing."""

    def __init__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def note(self, kind: str, step: int, seconds: float, values: dict[str, float]) -> None:
        """Does nothing."""

    def show(self, done: float, text: str) -> None:
        """Does nothing."""


def _step_of(line: str) -> float:
    """Step of a line of the log; infinity for an incomplete line, which a killed run may leave."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def summary(figures: dict[str, float]) -> str:
    """Returns the figures in one short line."""
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
