"""The prepared dataset: three flat arrays and an index on disk, written as a stream, read through a memory map."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Iterator

import cv2
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from xai.paths import LABELS, Study, StudyError, atomic, write_text

INDEX_COLUMNS = ("id", "label", "patient", "plane", "fold", "split", "source", "sha256")


@dataclass(frozen=True)
class Slice:
    """One 2-D slice with its tumour mask, at its native size."""

    id: str
    image: np.ndarray  # (H, W) uint8
    mask: np.ndarray  # (H, W) uint8, 0 or 1
    label: str
    patient: str
    plane: str
    fold: int | None = None
    mni: np.ndarray | None = None  # (H, W, 3) float32, MNI152 millimetres of each pixel, where the source knows it


class Dataset:
    """A prepared dataset, opened without reading it.

    Attributes
    ----------
    images, masks : numpy.memmap
        uint8 (N, S, S); masks hold 0 and 1.
    mni : numpy.memmap or None
        float16 (N, S, S, 3), MNI152 millimetres.
    index : pandas.DataFrame
        One row per slice in the same order; columns `INDEX_COLUMNS`.
    """

    def __init__(self, study: Study) -> None:
        study.need(study.index, "01_data")
        self.images = np.load(study.images, mmap_mode="r")
        self.masks = np.load(study.masks, mmap_mode="r")
        self.mni = np.load(study.mni, mmap_mode="r") if study.mni.exists() else None
        self.index = pd.read_csv(study.index, dtype={"id": str, "patient": str}, keep_default_na=False)
        if len(self.index) != len(self.images):
            raise StudyError(
                f"{study.index} has {len(self.index)} rows but {study.images.name} {len(self.images)} slices; "
                f"delete {study.data} and run chapter 01_data again."
            )

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split ("train", "validation", "test"), ascending."""
        return np.flatnonzero((self.index["split"] == split).to_numpy())

    def balanced_rows(self, split: str, count: int | None) -> np.ndarray:
        """At most `count` rows of a split, spread evenly over classes and, within a class, over its patients.

        Deterministic: slices are taken in turn from the patients, the middle slice of each first. A smaller count gives a
        subset of a larger one.
        """
        rows = self.rows(split)
        if count is None or count >= len(rows):
            return rows
        part = self.index.iloc[rows].assign(row=rows)
        size = part.groupby("patient")["row"].transform("size")
        order = part.groupby("patient").cumcount()
        part = part.assign(off_middle=(order - size // 2).abs()).sort_values("off_middle", kind="stable")
        # A patient with a long series must not get a second turn before one with a short series had the first.
        part["turn"] = part.groupby("patient").cumcount()
        part = part.sort_values(["turn", "patient"], kind="stable")
        part["class_turn"] = part.groupby("label").cumcount()
        return np.sort(part.sort_values("class_turn", kind="stable")["row"].to_numpy()[:count])

    def labels(self, rows: np.ndarray) -> np.ndarray:
        """Class numbers, positions in `LABELS`, int64 (len(rows),)."""
        return self.index["label"].iloc[rows].map(LABELS.index).to_numpy(dtype=np.int64)


def prepare(study: Study, slices: Iterable[Slice], *, count: int, image_size: int, source: str, assign_splits) -> None:
    """Write a stream of slices as the prepared dataset; memory stays at one slice.

    Images are resampled by area averaging, masks by area averaging and a threshold at one half.

    Parameters
    ----------
    slices : iterable of Slice
    count : int
        How many slices will come; the arrays' headers need it first.
    assign_splits : callable
        Index without splits (DataFrame) -> sequence of split names, one per row.

    Raises
    ------
    StudyError
        Too little disk space, or another number of slices than announced. Nothing half-written is left.
    """
    slices = iter(slices)
    first = next(slices, None)
    if first is None:
        raise StudyError(f"Source {source} gave no slices, expected {count}; nothing was written.")
    pixels = image_size * image_size
    # A reserve of one MiB keeps room for the index.
    needed = count * pixels * (2 + (6 if first.mni is not None else 0)) + 2**20
    study.data.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(study.data).free
    if free < needed:
        raise StudyError(
            f"{study.data} needs {needed / 1e6:.1f} MB for {count} slices, found {free / 1e6:.1f} MB free; "
            "free some space, or choose another STUDY folder or a smaller `data.image_size`."
        )
    records = []
    with atomic(study.images) as images, atomic(study.masks) as masks, atomic(study.mni) as mni:
        with images.open("wb") as image_file, masks.open("wb") as mask_file, mni.open("wb") as mni_file:
            _write_header(image_file, (count, image_size, image_size), np.uint8)
            _write_header(mask_file, (count, image_size, image_size), np.uint8)
            if first.mni is not None:
                _write_header(mni_file, (count, image_size, image_size, 3), np.float16)
            for item in tqdm(_chain(first, slices), total=count, desc="preparing slices", unit="slice"):
                image = fit_square(item.image, image_size)
                image_file.write(image.tobytes())
                mask_file.write((fit_square(item.mask * np.uint8(255), image_size) > 127).astype(np.uint8).tobytes())
                if item.mni is not None:
                    mni_file.write(fit_square(item.mni.astype(np.float32), image_size).astype(np.float16).tobytes())
                records.append({
                    "id": item.id, "label": item.label, "patient": item.patient, "plane": item.plane,
                    "fold": "" if item.fold is None else item.fold, "source": source,
                    "sha256": hashlib.sha256(item.image.tobytes()).hexdigest(),
                })  # fmt: skip
        if len(records) != count:
            raise StudyError(f"Source {source} gave {len(records)} slices, expected {count}; nothing was written.")
        index = pd.DataFrame(records)
        index["split"] = assign_splits(index)
        # An older index must not vouch for the new arrays while they replace the old ones.
        study.index.unlink(missing_ok=True)
    if first.mni is None:
        study.mni.unlink()
    # Last, because its presence says that the dataset is complete.
    with atomic(study.index) as temporary:
        index[list(INDEX_COLUMNS)].to_csv(temporary, index=False)


def _chain(first: Slice, rest: Iterator[Slice]) -> Iterator[Slice]:
    yield first
    yield from rest


def fit_square(array: np.ndarray, size: int) -> np.ndarray:
    """An image (H, W) or (H, W, C) as every slice of a dataset is brought to (size, size): padded to a square, then resampled."""
    height, width = array.shape[:2]
    if height != width:
        # Pad to a square with background on both sides: squashing would change the shape of heads.
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        margins = [(top, side - height - top), (left, side - width - left)] + [(0, 0)] * (array.ndim - 2)
        array = np.pad(array, margins)
    if array.shape[:2] == (size, size):
        return np.ascontiguousarray(array)
    shrinking = max(array.shape[:2]) > size
    return cv2.resize(array, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)


def _write_header(handle, shape: tuple[int, ...], dtype) -> None:
    np.lib.format.write_array_header_1_0(
        handle, {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    )


class Rows:
    """Some rows of an array on disk, read when they are sliced."""

    def __init__(self, array: np.ndarray, rows: np.ndarray) -> None:
        self.array, self.rows = array, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> np.ndarray:
        return self.array[self.rows[part]]


def read_index(study: Study, *, made_by: str = "01_data") -> pd.DataFrame:
    """The index of a study, all of it text, nothing read as missing."""
    return pd.read_csv(study.need(study.index, made_by), dtype=str, keep_default_na=False)


def lay_out_beside(source: Study, target: Study, index: pd.DataFrame) -> Study:
    """Make `target` a small study of the slices of `source` under an index of its own; return it.

    The arrays are hard links, or copies where the file system knows none. What is already right stays untouched, so that a
    training below `target` goes on or counts as finished.
    """
    for path, link in ((source.images, target.images), (source.masks, target.masks)):
        _link(path, link)
    text = index.to_csv(index=False)
    if not target.index.exists() or target.index.read_text(encoding="utf-8") != text:
        write_text(target.index, text)
    return target


def _link(source: Path, link: Path) -> None:
    if link.exists():
        ours, theirs = link.stat(), source.stat()
        if os.path.samefile(source, link) or (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns):
            return
        link.unlink()
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, link)
    except OSError:
        with atomic(link) as temporary:
            shutil.copyfile(source, temporary)
            shutil.copystat(source, temporary)  # its time stamp tells a copy that has grown old


def dataset_hash(study: Study) -> str:
    """SHA-256 over the index, which holds the hash of every image; names a dataset in provenance."""
    return hashlib.sha256(Path(study.index).read_bytes()).hexdigest()
