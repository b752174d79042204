"""Chapter 6's work: let one writer report the findings of a study, and show its text with every claim checked."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from xai.data.dataset import Dataset
from xai.findings import Findings
from xai.metrics.facts import check_facts
from xai.paths import LABELS, Study, StudyError, write_text
from xai.profiles import Profile
from xai.reports import (
    Report, WriterSettings, build_prompt, escape_text, highlight_claims, read_reports, supporting_findings, write_reports,
)  # fmt: skip


@dataclass(frozen=True)
class WriterRun:
    """One writer over the findings of a study: its status ("complete", "incomplete: ...", "not run: ...") and reports."""

    writer: str
    status: str
    reports: list[Report]


def report_study(study: Study, profile: Profile, writer: str, *, model: str | None = None, base_url: str | None = None) -> WriterRun:
    """Write ``reports/<writer>.jsonl`` and the writer's status beside it; reports already there are kept.

    Every writer gets the same findings: as many as the profile says, spread evenly over the true classes.
    """
    files = reported_findings(study, profile)
    own = profile.reports.settings.get(writer)
    settings = WriterSettings(
        model=model or (own.model if own else None), base_url=base_url or (own.base_url if own else None),
        temperature=profile.reports.temperature, seed=profile.seed, max_tokens=profile.reports.max_tokens,
        timeout_seconds=profile.reports.timeout_seconds,
    )  # fmt: skip
    output = study.reports(writer)
    status = write_reports(files, writer, settings=settings, output=output)
    write_text(output.with_suffix(".status"), status + "\n")
    return WriterRun(writer, status, read_reports(output))


def reported_findings(study: Study, profile: Profile) -> list[Path]:
    """Findings files that are narrated, in order of their id."""
    available = {path.stem: path for path in study.findings("x").parent.glob("*.json")}
    if not available:
        raise StudyError(f"{study.findings('x').parent} holds no findings; chapter 05_atlas writes them.")
    index = Dataset(study).index
    index = index[index["id"].isin(available)].sort_values("id")
    if index.empty:
        raise StudyError(f"No file of {study.findings('x').parent} belongs to this dataset; run chapter 05_atlas again.")
    turn = index.groupby("label").cumcount()
    order = index.assign(turn=turn, place=index["label"].map(LABELS.index)).sort_values(["turn", "place"], kind="stable")
    return [available[name] for name in sorted(order["id"].head(profile.reports.findings))]


def reports_as_html(study: Study, run: WriterRun, *, count: int) -> str:
    """The first reports, escaped, each claim underlined and linked to the finding that supports it; with findings and prompt. Or why there is none."""
    if not run.reports:
        return f'<p class="not-run">{escape(run.status)}</p>'
    parts = []
    for report in run.reports[:count]:
        findings = Findings.load(study.findings(report.id))
        check, anchor = check_facts(report.text, findings), f"finding-{run.writer}-{report.id}"
        marked = highlight_claims(report.text, check, anchor=anchor)
        messages = "\n\n".join(f"{message['role']}: {message['content']}" for message in build_prompt(findings))
        sources = "".join(
            f'<details><summary>{title}</summary><pre class="tex2jax_ignore mathjax_ignore" style="white-space:pre-wrap">{escape_text(content)}</pre></details>'
            for title, content in (("All findings (JSON)", findings.model_dump_json(indent=2)), ("Prompt", messages))
        )
        support = supporting_findings(check, findings, anchor=anchor)
        parts.append(f'<section class="report"><p class="report-source">Slice {escape(report.id)}, model {escape(report.model)}</p>{marked}{support}{sources}</section>')
    return "\n".join(parts)


def fact_table(study: Study, run: WriterRun) -> pd.DataFrame:
    """Claims of every report: how many were recognised, how many hold, and the first that does not."""
    records = []
    for report in run.reports:
        check = check_facts(report.text, Findings.load(study.findings(report.id)))
        wrong = [claim for claim in check.claims if not claim.supported]
        records.append({
            "report": report.id, "claims": len(check.claims), "fact precision": check.precision, "fact recall": check.recall,
            "unsupported": check.unsupported, "first unsupported claim": wrong[0].text if wrong else "none", "seconds": report.seconds,
        })  # fmt: skip
    return pd.DataFrame(records) if records else pd.DataFrame({"report": [run.status]})
