"""All reports of one writer, resumable: one line per finding, written as it is done."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from xai.findings import Findings
from xai.reports.prompt import request_hash
from xai.reports.store import RawStore, Report, append_line, read_reports, write_lines
from xai.reports.writers import WriterFailed, WriterNotRun, WriterSettings, build_request, write_report

# After so many failures in a row the server is taken to be down; what was written stays.
FAILURES_IN_A_ROW = 3


def write_reports(
    findings_files: Iterable[Path | str], writer: str, *, settings: WriterSettings | None = None, output: Path | str
) -> str:
    """Write the reports of `findings_files` to `output` (JSON lines), keeping those that are already there.

    A line counts as there if its id and its request hash agree; lines of other findings or settings are dropped from
    the file, their raw responses stay in ``<output folder>/raw/<writer>/``. When done, lines are in the order of the
    files.

    Returns
    -------
    str
        ``complete``; ``incomplete: n of m reports written; <reason>``; or ``not run: <reason>``, with an empty file.
        An incomplete or not-run writer is continued by calling again.

    Raises
    ------
    StudyError, FileNotFoundError
        For an unknown writer or a findings file that cannot be read.
    """
    from tqdm.auto import tqdm

    output = Path(output)
    store = RawStore(output.parent / "raw")
    findings = [Findings.load(path) for path in findings_files]
    wanted = {item.id: request_hash(build_request(item, writer, settings=settings)) for item in findings}
    done = {report.id: report for report in read_reports(output) if wanted.get(report.id) == report.prompt_sha256}
    write_lines(output, list(done.values()))
    pending = [item for item in findings if item.id not in done]
    progress = tqdm(pending, desc=f"reports by {writer}", unit="report", disable=not pending)
    reason = _write_pending(progress, writer, settings, store, output, done)
    write_lines(output, [done[identifier] for identifier in wanted if identifier in done])
    if len(done) == len(wanted):
        return "complete"
    if isinstance(reason, WriterNotRun) and not done:
        return f"not run: {reason}"
    return f"incomplete: {len(done)} of {len(wanted)} reports written; {reason}"


def _write_pending(
    pending: Iterable[Findings], writer: str, settings: WriterSettings | None, store: RawStore, output: Path,
    done: dict[str, Report],
) -> Exception | None:
    """Add the missing reports to `done` and to the file; the last thing that went wrong, or None."""
    reason: Exception | None = None
    failures = 0
    for findings in pending:
        try:
            report = write_report(findings, writer, settings=settings, store=store)
        except WriterNotRun as error:
            return error
        except WriterFailed as error:
            reason, failures = error, failures + 1
            if failures == FAILURES_IN_A_ROW:
                return reason
            continue
        failures = 0
        done[findings.id] = report
        append_line(output, report)
    return reason
