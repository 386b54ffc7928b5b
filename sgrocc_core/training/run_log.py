"""What a training run tells: a line of JSON for every look at it, TensorBoard scalars, and a progress bar with the figures."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm


class RunLog:
    """Log of one stage: OUT/STAGE.jsonl (appended to) and OUT/tensorboard/STAGE.

    Args:
        out: folder of the run; made if missing.
    """

    def __init__(self, out: Path, stage: str) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._lines = (out / f"{stage}.jsonl").open("a")
        self._board = SummaryWriter(str(out / "tensorboard" / stage))  # type: ignore[no-untyped-call]
        self._bar = tqdm(total=100, desc=stage, bar_format="{l_bar}{bar}| {elapsed}{postfix}", mininterval=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.close()
        self._lines.close()
        self._board.close()  # type: ignore[no-untyped-call]

    def note(self, kind: str, step: int, seconds: float, values: dict[str, float]) -> None:
        """Write figures of a kind (`train`, `heldout`) at a step."""
        rounded = {name: round(value, 5) for name, value in values.items()}
        self._lines.write(json.dumps({"kind": kind, "step": step, "seconds": round(seconds, 1), **rounded}) + "\n")
        self._lines.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)  # type: ignore[no-untyped-call]

    def show(self, done: float, text: str) -> None:
        """Move the bar to a share of the run, with a line of text."""
        self._bar.n = round(100 * done)
        self._bar.set_postfix_str(text)


def summary(figures: dict[str, float]) -> str:
    """Figures in one short line."""
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
