"""The figshare brain tumour set (Cheng 2017, CC BY 4.0), read as published: four zips of MATLAB v7.3 files and `cvind.mat`.

Cheng et al. 2015, doi 10.1371/journal.pone.0140381; data doi 10.6084/m9.figshare.1512427. 3,064 contrast-enhanced T1 slices under
233 patient ids. Nothing is unpacked to disk, and memory stays at one slice.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator, Mapping

import h5py
import numpy as np
import pandas as pd
import scipy.io
from skimage.draw import polygon2mask
from tqdm.auto import tqdm

from xai.data.dataset import Slice
from xai.data.download import download
from xai.data.figshare_members import SLICES, Reader, find_members, has_unpacked, keeping, reason
from xai.paths import LABELS, StudyError

FIGSHARE_ARTICLE = 1512427
FIGSHARE_URL = "https://ndownloader.figshare.com/files/"
# File ids and MD5 of version 8 (api.figshare.com/v2/articles/1512427), as several independent public download scripts quote them.
FILES = {
    "brainTumorDataPublic_1-766.zip": "md5:74b949ad33f042e6e103523091cd1428",
    "brainTumorDataPublic_767-1532.zip": "md5:7e8a875500d2c8a346f270538e29890e",
    "brainTumorDataPublic_1533-2298.zip": "md5:8227bf6080cb71f15a88be8d25c79ae7",
    "brainTumorDataPublic_2299-3064.zip": "md5:b378a80d6174e5317d59eb28430c6652",
    "cvind.mat": "md5:5ea82eb3212c9fcb84290ccf0beb486d",
}
FILE_IDS = dict(zip(FILES, ("3381290", "3381296", "3381293", "3381302", "7005344")))
COLUMNS = ("id", "member", "label", "patient", "patient_id", "plane", "fold")


def check_figshare(
    root: Path | str, *, base_url: str | None = None, checksums: Mapping[str, str | None] | None = None, skip_bad: bool = False
) -> pd.DataFrame:
    """Read every slice of the set once and list what it holds.

    Parameters
    ----------
    root : path
        Folder with the four zips, or with the .mat files that they hold (in sub-folders or not), and `cvind.mat`.
        Where both are there, a slice is read from its zip.
    base_url : str, optional
        Address to download from first: `FIGSHARE_URL`, or a mirror that serves the files by their names. What is there
        already stays; beside unpacked slices only `cvind.mat` is fetched.
    checksums : mapping, optional
        Name -> checksum of the files at `base_url`. By default the published ones at `FIGSHARE_URL`; at another address those
        of the first download, kept in `checksums.json` (see `xai.data.download.download`).
    skip_bad : bool
        Leave bad slices out instead of stopping at the first; ``attrs["skipped"]`` of the result lists why, a sentence each.

    Returns
    -------
    pandas.DataFrame
        One row per slice in order of its number, all text: id ("0001"), member (path below `root`, through the zip), label,
        patient (repeat exams merged, see `merge_exams`), patient_id (as published), plane ("unknown": not published),
        fold ("1" to "5").

    Raises
    ------
    StudyError
        One sentence naming the first file that is missing, damaged or contradicts the others.
    """
    root = Path(root)
    if base_url is not None:
        _download(root, base_url, checksums)
    if not root.is_dir():
        raise StudyError(f"Data folder {root} not found; give the folder with the figshare files, or an address to download from.")
    skipped: list[str] | None = [] if skip_bad else None
    members, bad = find_members(root, skipped)
    folds = _folds(root)
    _check_numbers(root, members, bad, folds, skipped)
    records = []
    with Reader(root) as read:
        for number in tqdm(sorted(members), desc="checking slices", unit="slice"):
            with keeping(skipped):
                content = read(members[number])
                records.append({
                    "id": f"{number:04d}", "member": members[number], "label": content.label,
                    "patient": merge_exams(content.patient_id), "patient_id": content.patient_id,
                    "plane": "unknown", "fold": str(folds[number - 1]),
                })  # fmt: skip
    index = _without_contradictions(root, pd.DataFrame(records, columns=list(COLUMNS), dtype=str), skipped)
    absent = [label for label in LABELS if label not in set(index["label"])]
    if absent:
        raise StudyError(f"{root} has no readable slice of class {', '.join(absent)}; the study needs all three classes.")
    index.attrs["skipped"] = skipped or []
    return index


def read_figshare(root: Path | str, index: pd.DataFrame) -> Iterator[Slice]:
    """Yield the slices of a checked index, or of some of its rows, one decoded file at a time and at their native size.

    The published int16 values become uint8 by the slice's own range: 255 (v - min) / (max - min), rounded; the masks 0 and 1.

    Raises
    ------
    StudyError
        A file was damaged since the check.
    """
    with Reader(Path(root)) as read:
        for row in index.itertuples():
            content = read(row.member)
            mask = (content.mask != 0).astype(np.uint8, order="C")
            fold = int(row.fold) if row.fold else None
            yield Slice(row.id, _to_grey(content.image), mask, row.label, row.patient, row.plane, fold)


def border_agreement(root: Path | str, index: pd.DataFrame) -> pd.Series:
    """Dice between each mask and its drawn border, filled: an audit of the masks.

    The border is x1, y1, x2, y2, ... in MATLAB's coordinates: x along the columns, the centre of the first pixel at 1.

    Returns
    -------
    pandas.Series
        Dice in [0, 1] on the rows of `index`, named "dice"; NaN where the border is no polygon.
    """
    with Reader(Path(root)) as read:
        bar = tqdm(index["member"], desc="comparing borders", unit="slice")
        return pd.Series([_border_dice(read(member)) for member in bar], index=index.index, name="dice", dtype=float)


def merge_exams(patient_id: str) -> str:
    """Patient of a published id: repeat exams carry a letter behind the number (MR040240, MR040240B, ... are one patient)."""
    return re.sub(r"(?<=[0-9])[A-Za-z]$", "", patient_id)


def _download(root: Path, base_url: str, checksums: Mapping[str, str | None] | None) -> None:
    published = base_url.rstrip("/") == FIGSHARE_URL.rstrip("/")
    if checksums is None:
        checksums = FILES if published else {}
    wanted = list(FILES)
    if has_unpacked(root):
        wanted = [] if any(root.rglob("cvind.mat")) else ["cvind.mat"]
    download({name: checksums.get(name) for name in wanted}, base_url, root, addresses=FILE_IDS if published else None)


def _folds(root: Path) -> list[int]:
    """Published fold of every slice in order; `cvind.mat` is v7.3 as published, and v5 is read as well."""
    path = min(root.rglob("cvind.mat"), key=lambda path: (len(path.parts), path), default=None)
    if path is None:
        raise StudyError(f"{root} has no cvind.mat, the published folds; download it from figshare article {FIGSHARE_ARTICLE}.")
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                values = file["cvind"][()]
        else:
            values = scipy.io.loadmat(path, variable_names=["cvind"])["cvind"]
        values = np.asarray(values, dtype=float).ravel()
    except Exception as error:  # on damaged files the two libraries raise a dozen kinds
        raise StudyError(f"{path} is not a MATLAB file with numbers in a variable cvind ({reason(error)}); replace it.") from error
    if not values.size or not (np.isfinite(values) & (values >= 1) & (values == np.round(values))).all():
        raise StudyError(f"{path} holds other values than fold numbers 1, 2, ...; download it again.")
    return values.astype(int).tolist()


def _check_numbers(root: Path, members: dict[int, str], bad: set[int], folds: list[int], skipped: list[str] | None) -> None:
    """Slices and folds must have the same numbers; where `cvind.mat` has its published length, it decides."""
    highest = max(members)
    if len(folds) not in (SLICES, highest) and (len(folds) < highest or not skipped):
        raise StudyError(
            f"cvind.mat in {root} holds {len(folds)} folds but the slices are numbered up to {highest}, expected one fold per slice "
            f"({SLICES} as published); download it again."
        )
    for number in [number for number in members if number > len(folds)]:
        with keeping(skipped):
            raise StudyError(f"{root / members.pop(number)} has a number beyond the {len(folds)} slices of cvind.mat; remove it.")
    missing = sorted(set(range(1, len(folds) + 1)) - set(members) - bad)
    if missing:
        absent = [name for name in FILES if name.endswith(".zip") and not (root / name).exists()]
        hint = f" ({', '.join(absent)} not there)" if 0 < len(absent) < 4 else ""
        with keeping(skipped):
            raise StudyError(
                f"{root} lacks {_spans(missing)} of the slices 1.mat to {len(folds)}.mat{hint}; download what is missing again, "
                "or set `data.skip_bad` to leave out what is bad or missing."
            )


def _spans(numbers: list[int]) -> str:
    """[5, 9, 10, 11] -> "5.mat, 9.mat to 11.mat"."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{run[0]}.mat" if len(run) == 1 else f"{run[0]}.mat to {run[-1]}.mat" for run in runs)


def _without_contradictions(root: Path, index: pd.DataFrame, skipped: list[str] | None) -> pd.DataFrame:
    """Drop slices whose label is not that of most slices of their patient; all of the patient where none leads."""
    wrong = []
    for patient, part in index.groupby("patient", sort=False):
        counts = part["label"].value_counts()
        if len(counts) == 1:
            continue
        most = counts.index[0] if counts.iloc[0] > counts.iloc[1] else None
        told = ", ".join(f"{count} {label}" for label, count in counts.items())
        for row in part[part["label"] != most].itertuples():
            wrong.append(row.Index)
            with keeping(skipped):
                raise StudyError(
                    f"{root / row.member} is labelled {row.label}, but the slices of patient {patient} are {told}; "
                    "expected one class per patient."
                )
    return index.drop(index=wrong).reset_index(drop=True)


def _to_grey(image: np.ndarray) -> np.ndarray:
    values = image.astype(np.float64)
    low, high = values.min(), values.max()
    # Multiplied before it is divided: whole numbers stay exact, so halves are rounded alike everywhere.
    return ((values - low) * 255 / ((high - low) or 1)).round().astype(np.uint8, order="C")


def _border_dice(content) -> float:
    x, y = content.border[::2], content.border[1::2]
    if len(x) != len(y) or len(x) < 3 or not np.isfinite(content.border).all():
        return np.nan
    drawn, mask = polygon2mask(content.mask.shape, np.column_stack([y, x]) - 1), content.mask != 0
    return 2 * np.sum(drawn & mask) / (drawn.sum() + mask.sum())
