"""Findings to prompt to language model to report: who writes, what is kept, how it is shown."""

from xai.reports.batch import write_reports
from xai.reports.display import escape_text, highlight_claims, supporting_findings
from xai.reports.grammar import build_grammar
from xai.reports.prompt import SECTIONS, build_prompt, prompt_facts, request_hash
from xai.reports.store import RawStore, Report, read_reports
from xai.reports.template import template_report
from xai.reports.writers import (
    WRITERS, Writer, WriterFailed, WriterNotRun, WriterSettings, build_request, write_report,
)

__all__ = [
    "SECTIONS", "WRITERS", "RawStore", "Report", "Writer", "WriterFailed", "WriterNotRun", "WriterSettings",
    "build_grammar", "build_prompt", "build_request", "escape_text", "highlight_claims", "prompt_facts",
    "read_reports", "request_hash", "supporting_findings", "template_report", "write_report", "write_reports",
]
