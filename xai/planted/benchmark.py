"""How far the fact checker can be trusted: errors of every kind planted into true reports, and alarms on reports without any."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from scipy.stats import binomtest

from xai.metrics.claims import Claim
from xai.metrics.facts import check_facts
from xai.planted.planting import Planted, clean_report, plant
from xai.planted.wording import KINDS, Wording


@dataclass(frozen=True)
class Outcome:
    """What the checker made of planted and of clean reports.

    Attributes
    ----------
    kinds : DataFrame
        One row per kind of error and one for all: ``error``, ``what``, ``planted``, ``detected``, ``rate`` with ``rate_low`` and ``rate_high``.
    clean : DataFrame
        Rows ``reports`` and ``claims``: how many without error, how many of them marked all the same, the share and its interval.
    missed : tuple of Planted
        Planted errors that the checker did not see.
    false : tuple of tuple
        For each false alarm the sentence it stands in, and the claim.
    """

    kinds: pd.DataFrame
    clean: pd.DataFrame
    missed: tuple[Planted, ...]
    false: tuple[tuple[str, Claim], ...]


def detected(planted: Planted) -> bool:
    """Whether the checker marks something in the sentence of the error that it does not mark in the same sentence without it."""
    already = set()
    if planted.clean_span is not None:
        claims = check_facts(planted.clean, planted.findings).unsupported_claims
        already = {(claim.kind, claim.text) for claim in claims if _inside(claim, planted.clean_span)}
    claims = check_facts(planted.text, planted.findings).unsupported_claims
    return any(_inside(claim, planted.span) and (claim.kind, claim.text) not in already for claim in claims)


def run_benchmark(wording: Wording, *, per_kind: int = 25, clean: int = 300, seed: int = 7) -> Outcome:
    """Plant `per_kind` errors of each kind, each into a report of its own, and check `clean` reports without any.

    Intervals are 95 % Wilson intervals over reports: they hold for reports worded like these, not for all of English.
    """
    planted = [plant(kind, number, wording, seed=seed + place) for place, kind in enumerate(KINDS) for number in range(per_kind)]
    seen = [detected(item) for item in planted]
    rows = []
    for kind, what in [*KINDS.items(), ("all", "")]:
        found = [value for item, value in zip(planted, seen) if kind in (item.kind, "all")]
        rows.append({"error": kind, "what": what, "planted": len(found), "detected": sum(found), **_rate("rate", sum(found), len(found))})
    false, marked, claims = [], 0, 0
    for number in range(clean):
        findings, text = clean_report(number, wording, seed=seed + len(KINDS))
        check = check_facts(text, findings)
        claims += len(check.claims)
        marked += check.unsupported > 0
        false += [(_around(text, claim), claim) for claim in check.unsupported_claims]
    clean_rows = [
        {"clean": name, "count": count, "marked": wrong, **_rate("share", wrong, count)}
        for name, count, wrong in (("reports", clean, marked), ("claims", claims, len(false)))
    ]
    missed = tuple(item for item, value in zip(planted, seen) if not value)
    return Outcome(pd.DataFrame(rows), pd.DataFrame(clean_rows), missed, tuple(false))


def _inside(claim: Claim, span: tuple[int, int]) -> bool:
    return span[0] <= claim.start and claim.end <= span[1]


def _around(text: str, claim: Claim) -> str:
    """The line or sentence of `text` that holds a claim."""
    first = max(text.rfind("\n", 0, claim.start), text.rfind(". ", 0, claim.start)) + 1
    ends = [place for place in (text.find("\n", claim.end), text.find(". ", claim.end)) if place >= 0]
    return text[first : min(ends, default=len(text))].strip()


def _rate(name: str, part: int, whole: int) -> dict[str, float]:
    interval = binomtest(part, whole).proportion_ci(method="wilson")
    return {name: part / whole, f"{name}_low": float(interval.low), f"{name}_high": float(interval.high)}
