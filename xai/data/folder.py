"""Any folder of images and masks with an `index.csv`, checked as a whole before any of it is used."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Iterator

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError

from xai.data.dataset import Slice
from xai.data.similar import cluster, name_groups, perceptual_hashes
from xai.paths import LABELS, PLANES, StudyError

REQUIRED = ("id", "image", "mask", "label")
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")  # ids become file names and page text


def check_folder(root: Path | str) -> pd.DataFrame:
    """Read and check `index.csv` and the header of every file it names.

    Parameters
    ----------
    root : path
        Folder with `index.csv`: columns id, image, mask (paths relative to the folder), label
        (glioma, meningioma, pituitary); optional patient, plane (axial, coronal, sagittal, or unknown), fold (integer)
        and split (train, validation, test).

    Returns
    -------
    pandas.DataFrame
        The index, all columns as text. Without a column `patient`, slices that look alike (`xai.data.similar`) stand for one, which
        keeps near-duplicates together and not all slices of a head; without `plane` it is "unknown" everywhere.

    Raises
    ------
    StudyError
        One sentence naming the first row that is wrong.
    """
    root = Path(root)
    if not root.is_dir():
        raise StudyError(f"Data folder {root} not found; give an existing folder with an index.csv as ROOT.")
    path = root / "index.csv"
    if not path.is_file():
        raise StudyError(f"{root} has no index.csv; expected one with the columns {', '.join(REQUIRED)}.")
    try:
        index = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not a readable CSV table: {' '.join(str(error).split())}.") from error
    missing = [column for column in REQUIRED if column not in index]
    if missing:
        raise StudyError(f"{path} lacks the column(s) {', '.join(missing)}; found {', '.join(index.columns)}.")
    index = index if "plane" in index else index.assign(plane="unknown")
    _check_values(index, path)
    for row in index.itertuples():
        _check_pair(root, row)
    if "patient" not in index:
        index["patient"] = name_groups(index["id"], cluster(perceptual_hashes(decode_grey(root / name) for name in index["image"])))
    _check_groups(index, path)
    return index


def read_folder(root: Path | str, index: pd.DataFrame) -> Iterator[Slice]:
    """Yield the slices of a checked index, one decoded pair of files at a time.

    Raises
    ------
    StudyError
        A file cannot be decoded, or a mask is empty.
    """
    root = Path(root)
    for row in index.itertuples():
        mask = (decode_grey(root / row.mask) > 127).astype(np.uint8)
        if not mask.any():
            raise StudyError(f"Mask {root / row.mask} of slice {row.id} is empty; expected tumour pixels above 127.")
        fold = getattr(row, "fold", "")
        yield Slice(
            row.id, decode_grey(root / row.image), mask, row.label, row.patient, row.plane, int(fold) if fold else None
        )


def decode_grey(path: Path, *, way_out: str = "replace it or drop its row") -> np.ndarray:
    """Grey values of a picture file, uint8 (H, W); colours become luminance, more than eight bits are scaled by their own range.

    Raises
    ------
    StudyError
        The file is missing, truncated or no picture; the sentence ends in `way_out`.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):
                values = np.asarray(picture, dtype=np.float32)
                span = float(np.ptp(values)) or 1.0
                return ((values - values.min()) * (255 / span)).round().astype(np.uint8)
            return np.asarray(picture.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise StudyError(f"{path} is not a readable image ({error}); {way_out}.") from error


def _check_values(index: pd.DataFrame, path: Path) -> None:
    for column, allowed in (("label", LABELS), ("plane", (*PLANES, "unknown")), ("split", ("train", "validation", "test"))):
        if column in index:
            wrong = index[~index[column].isin(allowed)]
            if len(wrong):
                row = wrong.iloc[0]
                raise StudyError(
                    f"{path}: slice {row['id']} has {column} {row[column]!r}; expected one of {', '.join(allowed)}."
                )
    unsafe = index[~index["id"].str.fullmatch(SAFE_ID)]
    if len(unsafe):
        raise StudyError(f"{path}: id {unsafe.iloc[0]['id']!r} is not allowed; use letters, digits, '_', '-' and '.'.")
    if index["id"].duplicated().any():
        raise StudyError(f"{path}: id {index['id'][index['id'].duplicated()].iloc[0]!r} stands twice; ids must be unique.")
    if "patient" in index and (index["patient"] == "").any():
        raise StudyError(
            f"{path}: slice {index['id'][index['patient'] == ''].iloc[0]} has no patient; splits need one: fill the column for all slices, "
            "or leave it out to group slices that look alike."
        )
    if "fold" in index and not index["fold"].str.fullmatch(r"(-?\d+)?").all():
        wrong = index[~index["fold"].str.fullmatch(r"(-?\d+)?")].iloc[0]
        raise StudyError(f"{path}: slice {wrong['id']} has fold {wrong['fold']!r}; expected a whole number or nothing.")
    absent = [label for label in LABELS if label not in set(index["label"])]
    if absent:
        raise StudyError(f"{path} has no slice of class {', '.join(absent)}; the study needs all three classes.")


def _check_groups(index: pd.DataFrame, path: Path) -> None:
    """A patient in two splits would leak from training into the test."""
    if "split" not in index:
        return
    values = index.groupby("patient")["split"].nunique()
    if (values > 1).any():
        patient = values.index[values > 1][0]
        found = sorted(set(index.loc[index["patient"] == patient, "split"]))
        raise StudyError(
            f"{path}: patient {patient} is in {len(found)} splits ({', '.join(found)}); "
            "all slices of a patient must be in one, or the test leaks."
        )


def _check_pair(root: Path, row) -> None:
    sizes = []
    for kind in ("image", "mask"):
        name = getattr(row, kind)
        path = root / name
        # os.path, because pathlib raises where a name is too long for the file system.
        if not name or not os.path.isfile(path):
            raise StudyError(f"Slice {row.id} has no {kind}: {path} not found; every row needs an image and a mask file.")
        if root.resolve() not in path.resolve().parents:
            raise StudyError(f"Slice {row.id}: {kind} path {name!r} leaves the data folder {root}.")
        try:
            with Image.open(path) as picture:
                sizes.append(picture.size)
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise StudyError(f"Slice {row.id}: {path} is not a readable image; replace it or drop the row.") from error
    if sizes[0] != sizes[1]:
        image, mask = (f"{width} x {height}" for width, height in sizes)
        raise StudyError(f"Slice {row.id}: the mask is {mask} px but the image {image} px; they must be the same size.")
