"""What could fool a reader of this dataset: leakage, duplicates, and classes told apart by plane or place."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd

from xai.data.dataset import Dataset
from xai.paths import LABELS

THUMBNAIL = 32  # px; small enough that noise averages out, large enough that neighbours differ


def dataset_table(index: pd.DataFrame) -> pd.DataFrame:
    """Slices and patients of each split and class, with a total; table T1 (columns split, label, slices, patients)."""
    def count(part: pd.DataFrame, split: str, label: str) -> dict:
        return {"split": split, "label": label, "slices": len(part), "patients": part["patient"].nunique()}

    rows = [
        count(index[(index["split"] == split) & (index["label"] == label)], split, label)
        for split in ("train", "validation", "test") for label in LABELS
    ]
    return pd.DataFrame([*rows, count(index, "all", "all")])


def class_plane_table(index: pd.DataFrame) -> pd.DataFrame:
    """Slices by class (rows) and plane (columns)."""
    return pd.crosstab(index["label"], index["plane"])


def tumour_places(dataset: Dataset) -> pd.DataFrame:
    """Centroid of every mask; columns label, plane, row, column (pixels)."""
    size = dataset.masks.shape[1]
    axis = np.arange(size)
    places = np.array([
        ((mask.sum(axis=1) @ axis) / area, (mask.sum(axis=0) @ axis) / area) if (area := int(mask.sum())) else (np.nan, np.nan)
        for mask in dataset.masks
    ])  # fmt: skip
    return dataset.index[["label", "plane"]].assign(row=places[:, 0], column=places[:, 1])


def audit(dataset: Dataset, *, duplicate_correlation: float = 0.99, seed: int = 0) -> pd.DataFrame:
    """Measure leakage, in slices and patients.

    Near-duplicates are pairs whose 32 x 32 thumbnails correlate above `duplicate_correlation`. The comparison with a split by slice redraws
    the same split sizes over slices and counts the test slices that have a sibling of the same patient in training.

    Returns
    -------
    pandas.DataFrame
        Columns check, found, expected, meaning.
    """
    index = dataset.index
    crossing = int((index.groupby("patient")["split"].nunique() > 1).sum())
    identical = int((index.groupby("sha256")["split"].nunique() > 1).sum())
    within, across = _near_duplicates(dataset, duplicate_correlation)
    shuffled = index["split"].to_numpy()[np.random.default_rng(seed).permutation(len(index))]
    trained = set(index["patient"][shuffled == "train"])
    leaked = index["patient"][shuffled == "test"].isin(trained).mean() if (shuffled == "test").any() else 0.0
    rows = [
        ("patients in more than one split", crossing, 0, "a network could recognise the head instead of the tumour"),
        ("identical images in different splits", identical, 0, "same bytes under two names"),
        ("near-duplicate pairs across splits", across, 0, f"thumbnails correlating above {duplicate_correlation}"),
        ("near-duplicate pairs within a split", within, "any", "neighbouring slices of one series"),
        ("test slices leaked by a split by slice, %", round(100 * float(leaked), 1), "0 by patient",
         "test slices with a sibling of the same patient in training, had slices been split"),
    ]  # fmt: skip
    # As objects, so that counts stay whole beside a percentage.
    return pd.DataFrame(rows, columns=["check", "found", "expected", "meaning"], dtype=object)


def _near_duplicates(dataset: Dataset, correlation: float, block: int = 512) -> tuple[int, int]:
    """Count near-duplicate pairs within and across splits; memory is `block` x N."""
    thumbnails = np.stack([
        cv2.resize(image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).ravel() for image in dataset.images
    ]).astype(np.float32)  # fmt: skip
    thumbnails -= thumbnails.mean(axis=1, keepdims=True)
    thumbnails /= np.maximum(np.linalg.norm(thumbnails, axis=1, keepdims=True), 1e-6)
    split = dataset.index["split"].to_numpy()
    within = across = 0
    for start in range(0, len(thumbnails), block):
        similar = thumbnails[start : start + block] @ thumbnails.T > correlation
        first, second = np.nonzero(similar)
        first += start
        pairs = first < second
        same = split[first[pairs]] == split[second[pairs]]
        within += int(same.sum())
        across += int((~same).sum())
    return within, across
