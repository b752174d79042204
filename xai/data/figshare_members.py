"""The single slices of the figshare set: found in zips or folders, read one at a time, refused where they are not as published."""

from __future__ import annotations

import io
import re
import stat
import zipfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Iterator

import h5py
import numpy as np

from xai.paths import StudyError

LABEL_NUMBERS = {1: "meningioma", 2: "glioma", 3: "pituitary"}
SLICES = 3064
LARGEST_BYTES = 2**26  # of one .mat; a published one has about half a megabyte
LARGEST_PIXELS = 2**24


@dataclass(frozen=True)
class Content:
    """What one .mat file says, in MATLAB's orientation."""

    label: str
    patient_id: str
    image: np.ndarray  # (H, W) int16 as published
    mask: np.ndarray  # (H, W)
    border: np.ndarray  # (2 P,) float64: x1, y1, x2, y2, ...


@dataclass(frozen=True)
class _Candidate:
    """Something that holds slices by its name, or would if it were not bad."""

    member: str
    numbers: range
    problem: str | None = None


@contextmanager
def keeping(skipped: list[str] | None) -> Iterator[None]:
    """Note the sentence of a StudyError and go on; without a list, let it out."""
    try:
        yield
    except StudyError as error:
        if skipped is None:
            raise
        skipped.append(str(error))


def find_members(root: Path, skipped: list[str] | None) -> tuple[dict[int, str], set[int]]:
    """List the slices by name alone.

    Returns
    -------
    dict of int to str
        Number -> path below `root`, through the zip: "brainTumorDataPublic_1-766.zip/1.mat".
    set of int
        Numbers that are there under a bad name, size or zip, and therefore not simply missing.
    """
    members: dict[int, str] = {}
    bad: set[int] = set()
    zipped = list(chain.from_iterable(_archived(archive) for archive in sorted(root.glob("brainTumorDataPublic_*.zip"))))
    in_zips = {number for candidate in zipped if candidate.problem is None for number in candidate.numbers}
    unpacked = [candidate for candidate in _unpacked(root) if not in_zips.intersection(candidate.numbers)]
    for candidate in chain(zipped, unpacked):
        with keeping(skipped):
            if candidate.problem is not None:
                bad.update(candidate.numbers)
                raise StudyError(candidate.problem)
            number = candidate.numbers[0]
            if number in members:
                raise StudyError(f"{root} holds slice {number} twice, {members[number]} and {candidate.member}; remove one of them.")
            members[number] = candidate.member
    if not members:
        raise StudyError(
            skipped[0] if skipped else f"{root} holds neither brainTumorDataPublic_*.zip nor the .mat files in them; "
            "put the files of figshare article 1512427 there, or give an address to download from."
        )  # fmt: skip
    return members, bad - set(members)


def has_unpacked(root: Path) -> bool:
    """Does a folder hold slices outside the zips?"""
    return any(candidate.numbers for candidate in _unpacked(root))


class Reader:
    """Reads and checks one member after the other; the zip of the last one stays open."""

    def __init__(self, root: Path) -> None:
        self._root, self._stack = root, ExitStack()
        self._path: Path | None = None
        self._archive: zipfile.ZipFile | None = None

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_error) -> None:
        self._stack.close()

    def __call__(self, member: str) -> Content:
        """Content of a member.

        Raises
        ------
        StudyError
            The file is damaged, lacks a field, or a field does not hold what it should.
        """
        where = self._root / member
        try:
            return _parse(where.read_bytes() if where.is_file() else self._unzip(member), str(where))
        except StudyError:
            raise
        except Exception as error:  # on damaged files zipfile and h5py raise a dozen kinds
            raise StudyError(f"{where} is damaged ({reason(error)}); replace it.") from error

    def _unzip(self, member: str) -> bytes:
        archive, _, name = member.partition(".zip/")
        path = self._root / f"{archive}.zip"
        if path != self._path:
            self._stack.close()
            self._archive, self._path = self._stack.enter_context(zipfile.ZipFile(path)), path
        return self._archive.read(name)  # compares the checksum that the zip holds


def reason(error: Exception) -> str:
    """An exception's words on one line, for the middle of a sentence."""
    words = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)  # a KeyError would quote itself
    return re.sub(r"[.!?] ", "; ", " ".join(words.split())).rstrip(".") or type(error).__name__


def _archived(archive: Path) -> Iterator[_Candidate]:
    """The slices that a zip's directory lists; system files and texts beside them are passed over."""
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
    except Exception as error:  # as many kinds as zips can be damaged in
        span = re.search(r"_([0-9]{1,5})-([0-9]{1,5})\.zip$", archive.name)
        numbers = range(int(span[1]), int(span[2]) + 1) if span else range(0)
        problem = f"{archive} is not a complete zip archive ({reason(error)}); download it again."
        yield _Candidate(archive.name, numbers, problem)
        return
    for entry in entries:
        name, where = PurePosixPath(entry.filename), f"{archive}/{entry.filename}"
        if entry.is_dir():
            continue
        if name.is_absolute() or ".." in name.parts or "\\" in entry.filename or ":" in entry.filename:
            problem = f"{archive}: the path of member {entry.filename!r} leaves the archive; take the zip from its publisher."
            yield _Candidate(archive.name, range(0), problem)
        elif stat.S_ISLNK(entry.external_attr >> 16):
            yield _Candidate(archive.name, _numbers(name), f"{where} is a symbolic link; expected a MATLAB file.")
        else:
            yield from _candidate(f"{archive.name}/{entry.filename}", where, name, entry.file_size)


def _unpacked(root: Path) -> Iterator[_Candidate]:
    for path in sorted(root.rglob("*.mat")):
        name = PurePosixPath(path.relative_to(root).as_posix())
        if path.is_file() and root.resolve() not in path.resolve().parents:
            problem = f"{path} is a link that leaves the data folder {root}; put the file itself there."
            yield _Candidate(str(name), _numbers(name), problem)
        elif path.is_file():
            yield from _candidate(str(name), str(path), name, path.stat().st_size)


def _candidate(member: str, where: str, name: PurePosixPath, size: int) -> Iterator[_Candidate]:
    if name.suffix != ".mat" or name.name == "cvind.mat" or any(part.startswith((".", "__MACOSX")) for part in name.parts):
        return
    numbers = _numbers(name)
    if not numbers:
        yield _Candidate(member, numbers, f"{where} is not named by its number; expected 1.mat to {SLICES}.mat.")
    elif size > LARGEST_BYTES:
        yield _Candidate(member, numbers, f"{where} has {size / 2**20:.0f} MiB, expected at most {LARGEST_BYTES // 2**20}; replace it.")
    else:
        yield _Candidate(member, numbers)


def _numbers(name: PurePosixPath) -> range:
    """The number that a file is named by, as a range of one; empty where the name is none."""
    number = int(name.stem) if re.fullmatch(r"[0-9]{1,9}", name.stem) else 0
    return range(number, number + 1) if number else range(0)


def _parse(content: bytes, where: str) -> Content:
    with h5py.File(io.BytesIO(content), "r") as file:
        label, codes, image, mask, border = (
            _array(file, name, where) for name in ("label", "PID", "image", "tumorMask", "tumorBorder")
        )
    if label.size != 1 or label.item() not in LABEL_NUMBERS:
        expected = ", ".join(f"{number} ({name})" for number, name in LABEL_NUMBERS.items())
        raise StudyError(f"{where} has label {', '.join(f'{value:g}' for value in label.ravel()[:3])}; expected one of {expected}.")
    patient_id = "".join(map(chr, codes.ravel().astype(np.uint16).tolist())).strip()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", patient_id):
        raise StudyError(f"{where} has patient id {patient_id!r}; expected letters and digits, because splits are made by patient.")
    if image.ndim != 2 or image.shape != mask.shape:
        found, expected = (" x ".join(map(str, array.shape)) for array in (mask, image))
        raise StudyError(f"{where}: the mask is {found} px but the image {expected} px; expected two dimensions of the same size.")
    if not np.isfinite(image).all():
        raise StudyError(f"{where} has grey values that are not finite; replace it.")
    if not mask.any():
        raise StudyError(f"{where} has an empty tumour mask; expected tumour pixels.")
    return Content(LABEL_NUMBERS[int(label.item())], patient_id, image.T, mask.T, border.ravel().astype(float))


def _array(file: h5py.File, name: str, where: str) -> np.ndarray:
    """A field of the structure `cjdata`, as stored: transposed."""
    field = file[f"cjdata/{name}"]
    if field.file != file or field.external or field.is_virtual:
        raise StudyError(f"{where}: {name} points to another file; expected the values themselves.")
    if field.size > LARGEST_PIXELS or field.dtype.kind not in "buif":
        raise StudyError(f"{where}: {name} holds {field.size} values of type {field.dtype}; expected at most {LARGEST_PIXELS} numbers.")
    return field[()]
