"""How commands print the findings of the checks, and refuse an input with errors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sgrocc_core.checks.findings import Findings


def refuse_errors(findings: Findings, force: bool) -> Findings:
    """Print all findings; DataError if there is an error among them and `force` is not set.

    Returns:
        the findings.
    """
    from sgrocc_core.errors import DataError

    for finding in findings:
        print(finding, file=sys.stderr)
    if findings.of_level("error") and not force:
        raise DataError("the input is refused because of the errors above; --force goes on all the same")
    return findings
