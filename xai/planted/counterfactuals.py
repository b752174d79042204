"""Does a report follow its findings? One value is changed, the report written anew, and the old report held against the new value."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from xai.findings import Findings
from xai.metrics.facts import check_facts
from xai.planted.draws import draw_findings
from xai.planted.planting import alter

CHANGES = ("class", "class probability", "side", "region", "region number", "plane", "size")


def counterfactuals(write: Callable[[Findings], str], *, count: int = 12, seed: int = 7) -> pd.DataFrame:
    """Change one value at a time in findings drawn at random.

    Parameters
    ----------
    write : callable
        Findings -> report.
    count : int
        Findings for each kind of change.

    Returns
    -------
    DataFrame
        One row per change: ``change``, ``findings``; ``report_changes``, how many reports came out otherwise and without an unsupported claim
        against the changed findings; ``old_report_marked``, how many old reports hold an unsupported claim against them.
    """
    rows = []
    for place, change in enumerate(CHANGES):
        followed = marked = 0
        for findings, other in _pairs(change, count, seed + place):
            before, after = write(findings), write(other)
            followed += before != after and check_facts(after, other).unsupported == 0
            marked += check_facts(before, other).unsupported > 0
        rows.append({"change": change, "findings": count, "report_changes": followed, "old_report_marked": marked})
    return pd.DataFrame(rows)


def _pairs(change: str, count: int, seed: int) -> list[tuple[Findings, Findings]]:
    """Findings and the same with one value changed; those that do not hold the value are passed over."""
    pairs, number = [], 0
    while len(pairs) < count:
        draw = np.random.default_rng([seed, number, 3])
        findings, number = draw_findings(number, draw), number + 1
        if findings.mask.area_pixels:
            other = alter(change, findings, draw)
            pairs += [] if other is None else [(findings, other)]
    return pairs
