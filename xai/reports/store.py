"""Raw requests and responses by content hash, and the growing file of reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from xai.paths import write_text


class Report(BaseModel):
    """One written report.

    `prompt_sha256` names the request (prompt, model and decoding settings) in the raw store; `seconds` is the
    writer's time when the report was made, and stays the same when it is replayed; `tokens` counts generated tokens and
    `prompt_tokens` those read, as the server counted them (0 where it did not).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    writer: str
    model: str
    prompt_sha256: str
    text: str
    seconds: float
    tokens: int
    prompt_tokens: int = 0


class RawStore:
    """Files ``<folder>/<writer>/<sha256>.json`` with one request and its response each."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def path(self, writer: str, digest: str) -> Path:
        return self.folder / writer / f"{digest}.json"

    def get(self, writer: str, digest: str) -> dict[str, Any] | None:
        """The stored response, or None if there is none that can be read."""
        try:
            return json.loads(self.path(writer, digest).read_text(encoding="utf-8"))["response"]
        except (OSError, ValueError, KeyError):
            return None

    def put(
        self, writer: str, digest: str, request: dict[str, Any], response: dict[str, Any], secret: str | None
    ) -> None:
        """Keep a response; should a server echo the key back, it is blanked before anything is written."""
        text = json.dumps({"request": request, "response": response}, indent=1)
        if secret:
            text = text.replace(secret, "[key removed]")
        write_text(self.path(writer, digest), text)


def read_reports(path: Path) -> list[Report]:
    """The reports of a file; a line cut short by a killed run is left out and so written again."""
    reports = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            reports.append(Report.model_validate_json(line))
        except ValidationError:
            continue
    return reports


def write_lines(path: Path, reports: list[Report]) -> None:
    """Replace the file by one line per report, whole or not at all."""
    write_text(path, "".join(report.model_dump_json() + "\n" for report in reports))


def append_line(path: Path, report: Report) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(report.model_dump_json() + "\n")
