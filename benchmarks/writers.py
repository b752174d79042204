"""Which writer says only what was found? The same findings, drawn at random, under each writer, every report checked.

    python benchmarks/writers.py                                     # template, SmolLM2 with and without its grammar, 100 findings
    python benchmarks/writers.py --gguf model.gguf                   # and another local model, as an OpenAI-compatible server, on 30 of them
    python benchmarks/writers.py --show 5                            # and what was not found in the first five reports of each

Reports are kept in `--folder`: a second call writes what is missing and checks all again. Prints means with 95 % bootstrap intervals over reports.
With --to the tables are kept as CSV, with where they come from beside them.
"""

from __future__ import annotations

import argparse
import json
import os
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from xai.findings import Findings
from xai.metrics.facts import check_facts
from xai.metrics.text import mean_interval, shared_sentences, shared_words
from xai.paths import atomic, write_text
from xai.planted.draws import draw_findings
from xai.reference import commit, device
from xai.reports import Report, WriterSettings, read_reports, template_report, write_reports
from xai.reports.local import serve_locally

PORT = 8351


def drawn(count: int, seed: int, folder: Path) -> list[Path]:
    """Files of findings drawn at random; those that are there are kept."""
    files = [folder / f"drawn-{number:04d}.json" for number in range(count)]
    for number, file in enumerate(files):
        if not file.exists():
            draw_findings(number, np.random.default_rng([seed, number])).save(file)
    return files


def scores(report: Report, findings: Findings) -> dict[str, float]:
    """What is measured of one report; `clean` is 1 for a report without an unsupported claim."""
    check, template = check_facts(report.text, findings), template_report(findings)
    return {
        "precision": check.precision, "recall": check.recall, "clean": float(check.unsupported == 0), "unsupported": check.unsupported,
        "four words as template": shared_words(report.text, template), "sentences as template": shared_sentences(report.text, template),
        "words": len(report.text.split()), "seconds": report.seconds,
    }  # fmt: skip


def table_of(reports: dict[str, list[Report]], findings: dict[str, Findings], seed: int) -> pd.DataFrame:
    """One row per writer: number of reports, then each score as mean with its interval."""
    rows = []
    for name, written in reports.items():
        measured = pd.DataFrame([scores(report, findings[report.id]) for report in written])
        row: dict[str, object] = {"writer": name, "n": len(written)}
        for column in measured:
            row |= dict(zip((column, f"{column}_low", f"{column}_high"), mean_interval(measured[column], seed=seed)))
        rows.append(row)
    return pd.DataFrame(rows)


def readable(table: pd.DataFrame) -> str:
    """The table turned, one line per score."""
    shown = {}
    for _, row in table.iterrows():
        means = [name for name in table if f"{name}_low" in table]
        shown[row["writer"]] = {"reports": str(row["n"])} | {
            name: f"{row[name]:.3g} [{row[f'{name}_low']:.3g}, {row[f'{name}_high']:.3g}]" for name in means
        }
    return pd.DataFrame(shown).to_string()


def inventions(reports: dict[str, list[Report]], findings: dict[str, Findings]) -> pd.DataFrame:
    """What no finding supports, by writer, kind of claim and reason: how often, in how many reports, and the words it was said in first."""
    rows = [
        {"writer": name, "report": report.id, "kind": claim.kind, "reason": claim.reason, "words": claim.text}
        for name, written in reports.items() for report in written for claim in check_facts(report.text, findings[report.id]).unsupported_claims
    ]  # fmt: skip
    groups = pd.DataFrame(rows, columns=["writer", "report", "kind", "reason", "words"]).groupby(["writer", "kind", "reason"], sort=False)
    table = groups.agg(claims=("words", "size"), reports=("report", "nunique"), example=("words", "first")).reset_index()
    return table.sort_values(["writer", "claims"], ascending=[True, False], kind="stable", ignore_index=True)


def beginnings(reports: dict[str, list[Report]], length: int = 400) -> pd.DataFrame:
    """How each writer began its report of the first findings."""
    return pd.DataFrame([{"writer": name, "beginning": f"{written[0].text[:length].strip()} …"} for name, written in reports.items()])


def keep(folder: Path, tables: dict[str, pd.DataFrame], **made: object) -> None:
    """The tables as CSV, and how, when and where they were made."""
    for name, table in tables.items():
        with atomic(folder / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    record = {"date": date.today().isoformat(), "commit": commit(), "device": device()} | made
    write_text(folder / "writers.json", json.dumps(record, indent=1))


def show(name: str, reports: list[Report], findings: dict[str, Findings]) -> None:
    """What is unsupported in some reports."""
    for report in reports:
        for claim in check_facts(report.text, findings[report.id]).unsupported_claims:
            print(f"{name} {report.id}: {claim.kind} {claim.text!r} ({claim.reason})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--findings", type=int, default=100)
    parser.add_argument("--writers", nargs="+", default=["template", "smollm2", "smollm2_free"], choices=["template", "smollm2", "smollm2_free"])
    parser.add_argument("--gguf", type=Path, help="weights of another model; it writes through openai_compatible")
    parser.add_argument("--gguf-findings", type=int, default=30, help="how many of the findings that model gets (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of that model")
    parser.add_argument("--folder", type=Path, default=Path("runs/writers"), help="where reports are kept (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--to", type=Path, help="folder for the tables, such as results/writers")
    parser.add_argument("--show", type=int, default=0, help="print the unsupported claims of so many reports")
    options = parser.parse_args()
    files = drawn(options.findings, options.seed, options.folder / "findings")
    findings = {file.stem: Findings.load(file) for file in files}
    settings = {name: WriterSettings(seed=options.seed) for name in options.writers}
    if options.gguf:
        # A proxy set for the network must not see, or fail, what goes to this machine.
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
        address = serve_locally(options.gguf, port=PORT, threads=options.threads)
        settings["openai_compatible"] = WriterSettings(seed=options.seed, base_url=address, model=options.gguf.name, timeout_seconds=900)
    reports = {}
    for name, own in settings.items():
        output = options.folder / f"{name}.jsonl"
        own_files = files[: options.gguf_findings] if name == "openai_compatible" else files
        print(f"{name}: {write_reports(own_files, name, settings=own, output=output)}", flush=True)
        if written := read_reports(output):
            reports[name] = written
    table = table_of(reports, findings, options.seed)
    print(readable(table))
    if options.to:
        tables = {"writers": table.round(4), "inventions": inventions(reports, findings), "beginnings": beginnings(reports)}
        keep(options.to, tables, findings=options.findings, seed=options.seed, gguf=options.gguf and options.gguf.name)
    for name, written in reports.items():
        show(name, written[: options.show], findings)


if __name__ == "__main__":
    main()
