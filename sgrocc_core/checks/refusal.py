"""Refuses an input in which the checks found errors, unless it is forced."""

from __future__ import annotations

import sys

from sgrocc_core.checks.findings import Findings
from sgrocc_core.errors import DataError


def refuse_errors(findings: Findings, force: bool) -> Findings:
    """Print all findings to standard error.

    Args:
        findings: of the checks.
        force: go on although there is an error.

    Returns:
        the findings.

    Raises:
        DataError: there is an error among them and `force` is not set.
    """
    for finding in findings:
        print(finding, file=sys.stderr)
    if findings.of_level("error") and not force:
        raise DataError("the input is refused because of the errors above; --force goes on all the same")
    return findings
