"""Findings of the checks: what is wrong with an input, with the measured values, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

LEVELS = ("note", "warning", "error")
"""Levels in rising order: an error makes a command refuse its input unless it is forced to go on."""


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        level: one of LEVELS.
        code: a short snake_case key, such as `depth_not_metric`; reports and diagnostics are grouped by it.
        message: what was seen, with the value and what is allowed.
        advice: what to do about it; may be empty.
    """

    level: str
    code: str
    message: str
    advice: str = ""

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"level is {self.level!r}; it must be one of {', '.join(LEVELS)}")

    def __str__(self) -> str:
        advice = f" {self.advice}" if self.advice else ""
        return f"{self.level}: {self.message}{'.' if not self.message.endswith('.') else ''}{advice}"

    def as_dict(self) -> dict[str, str]:
        """The finding for a report."""
        return {"level": self.level, "code": self.code, "message": self.message, "advice": self.advice}


class Findings:
    """The findings of one input in order of their discovery; each code is kept once, at its highest level."""

    def __init__(self, findings: Iterable[Finding] = ()) -> None:
        self._by_code: dict[str, Finding] = {}
        self.extend(findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(sorted(self._by_code.values(), key=lambda finding: -LEVELS.index(finding.level)))

    def __len__(self) -> int:
        return len(self._by_code)

    def __contains__(self, code: str) -> bool:
        return code in self._by_code

    def add(self, finding: Finding) -> None:
        """Keep a finding; one of the same code and a lower level is replaced."""
        known = self._by_code.get(finding.code)
        if known is None or LEVELS.index(finding.level) > LEVELS.index(known.level):
            self._by_code[finding.code] = finding

    def extend(self, findings: Iterable[Finding]) -> None:
        """Keep several findings, in order."""
        for finding in findings:
            self.add(finding)

    def of_level(self, level: str) -> list[Finding]:
        """The findings of exactly this level."""
        return [finding for finding in self if finding.level == level]

    @property
    def worst(self) -> str | None:
        """The highest level among the findings; None without any."""
        return max((f.level for f in self._by_code.values()), key=LEVELS.index, default=None)

    def as_list(self) -> list[dict[str, Any]]:
        """All findings for a report, errors first."""
        return [finding.as_dict() for finding in self]


def not_mapped(cause: str, count: int, looked: int, example: str, none_mapped: bool) -> Finding:
    """A finding of images that cannot be mapped: an error if no image can.

    Args:
        cause: key under which the images are counted.
        count: number of these images.
        looked: number of images that were looked at.
        example: message of one of them.
        none_mapped: whether no image can be mapped.
    """
    level = "error" if none_mapped else "warning"
    message = f"{count} of {looked} images that were looked at cannot be mapped: {example}"
    return Finding(level, f"images_{cause}", message)


FEW = 0.1
"""Share of the images up to which missing depth is not told: sensor and camera need not run at one rate."""


def depth_left_out(cause: str, count: int, looked: int, example: str) -> Finding | None:
    """A finding of depth that cannot be used: a warning, or a note where none came, unless it is rare.

    Args:
        cause: key under which it is counted; `no_depth`: none came within the time that is allowed.
        count: number of images without their depth.
        looked: number of images that were looked at.
        example: message of one of them.
    """
    if cause == "no_depth" and count <= FEW * looked:
        return None
    level = "note" if cause == "no_depth" else "warning"
    return Finding(level, f"depth_unused_{cause}", f"depth of {count} of {looked} images cannot be used: {example}")
