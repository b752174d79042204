"""Fetch published files once: continued after a cut, checked before they get their name, never fetched twice."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from functools import partial
from pathlib import Path
from typing import Mapping
from urllib.parse import urljoin, urlsplit

import pooch
import requests
from tqdm.auto import tqdm

from xai.paths import StudyError, write_text

RECORD = "checksums.json"  # of files whose publisher names no checksum: what their first download gave
ATTEMPTS = 5
BLOCK_BYTES = 2**16  # a cut loses the block it falls in
TIMEOUT_SECONDS = (10, 60)  # to connect, and between two blocks
TEMPORARY = frozenset({408, 429, 500, 502, 503, 504})  # answers that a later try may turn into the file


class _Again(Exception):
    """This try failed in a way that the next may not; the text says how."""


def download(
    files: Mapping[str, str | None],
    base_url: str,
    folder: Path | str,
    *,
    addresses: Mapping[str, str] | None = None,
    attempts: int = ATTEMPTS,
    pause_seconds: float = 1.0,
) -> list[Path]:
    """Bring files into a folder; those already there and right are left alone, without a word to the server.

    A file arrives as ``.NAME.part``, which a later try or a later call continues by an HTTP range (RFC 9110, section 14), and
    gets its name once its checksum is right. If a continued file fails its checksum, it is fetched once more from the start.

    Parameters
    ----------
    files : mapping
        Name -> checksum, SHA-256 or with its kind in front ("md5:..."). With None, the SHA-256 of the first download
        is written to `checksums.json` in the folder and holds from then on (trust on first use).
    base_url : str
        Address below which the files lie.
    folder : path
        Made where it does not exist.
    addresses : mapping, optional
        Name -> path below `base_url`, for files that are not served by their names.
    attempts : int
        Tries per file after a cut connection or a temporary error of the server.
    pause_seconds : float
        Wait before the second try; doubles from try to try.

    Returns
    -------
    list of Path
        In the order of `files`.

    Raises
    ------
    StudyError
        One sentence: the host cannot be reached, refuses, breaks off or serves other bytes, or the disk is full.
    """
    folder = Path(folder)
    pooch.get_logger().setLevel("WARNING")  # a progress bar tells the same
    known = {name: checksum or recorded for (name, checksum), recorded in zip(files.items(), _recorded(folder, files))}
    paths = []
    for name, checksum in known.items():
        bring = partial(_bring, part=folder / f".{name}.part", checksum=checksum, attempts=attempts, pause_seconds=pause_seconds)
        url = urljoin(base_url.rstrip("/") + "/", (addresses or {}).get(name, name))
        try:
            paths.append(Path(pooch.retrieve(url, checksum, fname=name, path=folder, downloader=bring)))
            if checksum is None:
                _record(folder, name)
        except OSError as error:
            raise StudyError(_disk_problem(folder, name, error)) from error
    return paths


def _bring(url: str, output_file: str, _store, *, part: Path, checksum: str | None, attempts: int, pause_seconds: float) -> None:
    """A downloader for pooch: completes `part`, checks it and moves it to `output_file`."""
    continued = _complete(url, part, attempts, pause_seconds)
    if checksum is not None and continued and _found(part, checksum) != checksum:
        # What was left may be of another version of the file.
        _discard(part)
        _complete(url, part, attempts, pause_seconds)
    if checksum is not None and (found := _found(part, checksum)) != checksum:
        _discard(part)
        raise StudyError(
            f"{_shown(url)} gave {_name(part)} with the checksum {found}, expected {checksum}: these are not the bytes published or "
            "first downloaded, so nothing was kept; try again later or name another address."
        )
    os.replace(part, output_file)
    _discard(part)


def _complete(url: str, part: Path, attempts: int, pause_seconds: float) -> bool:
    """Fetch what `part` lacks; True if it holds the bytes of several answers."""
    problem = ""
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause_seconds * 2 ** (attempt - 1))
        try:
            with requests.get(url, headers=_range(part), stream=True, timeout=TIMEOUT_SECONDS) as answer:
                return _take(answer, url, part)
        except _Again as again:
            problem = str(again)
        except (requests.ConnectionError, requests.Timeout) as error:
            problem = f"{urlsplit(url).hostname} cannot be reached ({type(error).__name__})"
        except requests.RequestException as error:
            problem = f"{_shown(url)} is no address to download {_name(part)} from ({type(error).__name__}); correct it."
            raise StudyError(problem) from error
    raise StudyError(
        f"{_shown(url)} was not downloaded in {attempts} attempts: {problem}; check the network and run the same command again, "
        f"which continues where this one stopped, or put {_name(part)} into {part.parent} yourself."
    )


def _range(part: Path) -> dict[str, str]:
    """Headers that ask for the rest of a file, unless it has changed since; a compressed answer could not be continued."""
    headers = {"Accept-Encoding": "identity"}
    if _size(part):
        headers["Range"] = f"bytes={_size(part)}-"
        if _validator(part).exists():
            headers["If-Range"] = _validator(part).read_text(encoding="latin-1")
    return headers


def _take(answer: requests.Response, url: str, part: Path) -> bool:
    """Write an answer to `part`; True if it went behind what was there."""
    have, status = _size(part), answer.status_code
    first, total = _content_range(answer)
    if status == 416 and have and total == have:
        return True  # only the last step was missing
    if status == 416 and have or status == 206 and first != have:
        _discard(part)
        raise _Again("the server gave another part than asked for")
    if status in TEMPORARY:
        raise _Again(f"the server answered {status} {answer.reason}")
    if status not in (200, 206):
        raise StudyError(
            f"{_shown(url)} answered {status} {answer.reason} instead of {_name(part)}; check the address, "
            f"or put {_name(part)} into {part.parent} yourself."
        )
    if status == 200:
        _discard(part)
        have, length = 0, answer.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        if re.fullmatch(r'"[^"]*"', etag := answer.headers.get("ETag", "")):
            _validator(part).write_text(etag, encoding="latin-1")
    _write(answer, part, have, total)
    return status == 206


def _write(answer: requests.Response, part: Path, have: int, total: int | None) -> None:
    bar = tqdm(desc=f"downloading {_name(part)}", initial=have, total=total, unit="B", unit_scale=True, unit_divisor=1024)
    broken = None
    with bar, part.open("ab") as file:
        try:
            for block in answer.iter_content(BLOCK_BYTES):
                file.write(block)
                bar.update(len(block))
        except requests.RequestException as error:
            broken = error
    if broken or (total is not None and _size(part) < total):
        of = f" of {total / 1e6:.1f}" if total else ""
        raise _Again(f"the connection broke off at {_size(part) / 1e6:.1f}{of} MB") from broken


def _content_range(answer: requests.Response) -> tuple[int | None, int | None]:
    """First byte and total size of "bytes 100-199/200" or "bytes */200"; None where not given."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", ""))
    first, total = match.groups() if match else (None, None)
    return int(first) if first else None, int(total) if total and total != "*" else None


def _found(part: Path, checksum: str) -> str:
    """Checksum of a file, written like the expected one."""
    kind, _, _ = checksum.rpartition(":")
    return (f"{kind}:" if kind else "") + pooch.file_hash(str(part), alg=kind or "sha256")


def _recorded(folder: Path, files: Mapping[str, str | None]) -> list[str | None]:
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return [record.get(name) for name in files]
    except (ValueError, AttributeError, OSError) as error:
        raise StudyError(f"{path} is no readable list of checksums; delete it to trust the files beside it.") from error


def _record(folder: Path, name: str) -> None:
    path = folder / RECORD
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    record[name] = f"sha256:{pooch.file_hash(str(folder / name), alg='sha256')}"
    write_text(path, json.dumps(record, indent=1, sort_keys=True) + "\n")


def _disk_problem(folder: Path, name: str, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk filled up while downloading {name} to {folder}; free some space and run the same command again, "
            "which continues where this one stopped."
        )
    return f"{name} cannot be written to {folder} ({error.strerror or type(error).__name__}); choose a folder that you may write to."


def _shown(url: str) -> str:
    """An address without the user name, password or query that may stand in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else url


def _name(part: Path) -> str:
    return part.name.removeprefix(".").removesuffix(".part")


def _validator(part: Path) -> Path:
    """File with the entity tag of the version that `part` began with."""
    return part.with_name(part.name + ".etag")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator(part).unlink(missing_ok=True)
