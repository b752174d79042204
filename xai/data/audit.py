"""What could fool a reader of this dataset: patients, copies and look-alikes on both sides of a split."""

from __future__ import annotations

from typing import Literal, NamedTuple, Sequence

import cv2
import numpy as np
import pandas as pd

from xai.data.dataset import Dataset
from xai.data.statistics import slice_statistics
from xai.paths import LABELS

THUMBNAIL = 32  # px; small enough that noise averages out, large enough that neighbours differ
SIMILAR = (0.95, 0.97, 0.99)  # correlations of thumbnails; above 0.99 two slices look the same
COMPARED_AT_ONCE = 2**24  # correlations held at a time: 64 MiB


class Similarity(NamedTuple):
    """How alike the slices of a dataset are.

    Attributes
    ----------
    nearest : DataFrame
        One row per slice: ``id, label, patient, plane, split``; ``within`` (correlation with the most similar other slice
        of the same patient, NaN where there is none) and ``within_row`` (its row, -1); ``across`` and ``across_row`` for
        the most similar slice of any other patient.
    pairs : DataFrame
        Every pair above the asked correlation, closest first: ``first, second`` (rows, first < second), ``correlation,
        same_patient, same_split, identical`` (equal bytes).
    """

    nearest: pd.DataFrame
    pairs: pd.DataFrame


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
    """Centroid of every mask; columns label, plane, row, column (pixels), NaN for an empty mask."""
    return slice_statistics(dataset)[["label", "plane", "row", "column"]]


def similar_slices(dataset: Dataset, *, correlation: float = SIMILAR[0]) -> Similarity:
    """Compare every slice with every other by the correlation of 32 x 32 thumbnails, which brightness and contrast leave alone.

    Images are read one at a time; what is held are the thumbnails (4 KiB a slice), one block of correlations, and the pairs found.
    """
    thumbnails = _thumbnails(dataset.images)
    index = dataset.index
    patient, split = (pd.factorize(index[name])[0] for name in ("patient", "split"))
    count = len(thumbnails)
    best = {"within": np.full(count, np.nan), "across": np.full(count, np.nan)}
    partner = {"within": np.full(count, -1), "across": np.full(count, -1)}
    found = []
    block = max(1, COMPARED_AT_ONCE // max(count, 1))
    for start in range(0, count, block):
        rows = np.arange(start, min(start + block, count))
        similar = np.clip(thumbnails[rows] @ thumbnails.T, -1, 1)
        first, second = np.nonzero(similar > correlation)
        ordered = first + start < second
        found.append((first[ordered] + start, second[ordered], similar[first[ordered], second[ordered]]))
        same = patient[rows, None] == patient[None]
        similar[rows - start, rows] = -np.inf  # a slice is not its own neighbour
        for kind, allowed in (("within", same), ("across", ~same)):
            masked = np.where(allowed, similar, -np.inf)
            place = masked.argmax(axis=1)
            value = masked[rows - start, place]
            exists = np.isfinite(value)
            best[kind][rows[exists]], partner[kind][rows[exists]] = value[exists], place[exists]
    first, second, value = (np.concatenate(part) for part in zip(*found))
    sha256 = index["sha256"].to_numpy()
    pairs = pd.DataFrame({
        "first": first, "second": second, "correlation": value, "same_patient": patient[first] == patient[second],
        "same_split": split[first] == split[second], "identical": sha256[first] == sha256[second],
    }).sort_values("correlation", ascending=False, kind="stable", ignore_index=True)  # fmt: skip
    nearest = index[["id", "label", "patient", "plane", "split"]].assign(
        **{name: values for kind in best for name, values in ((kind, best[kind]), (f"{kind}_row", partner[kind]))}
    )
    return Similarity(nearest, pairs)


def duplicates_table(pairs: pd.DataFrame, thresholds: Sequence[float] = SIMILAR) -> pd.DataFrame:
    """Count the pairs above each correlation, and the identical ones, by patient and split.

    Parameters
    ----------
    pairs : DataFrame
        Of `similar_slices` with a correlation not above the lowest threshold.

    Returns
    -------
    DataFrame
        ``pairs of slices`` (the criterion), then a count for each of: one patient or two patients, in one split or in two.
    """
    groups = {
        f"{patients}, {splits}": (pairs["same_patient"] == same_patient) & (pairs["same_split"] == same_split)
        for same_patient, patients in ((True, "one patient"), (False, "two patients"))
        for same_split, splits in ((True, "one split"), (False, "two splits"))
    }
    criteria = {f"correlation above {threshold:g}": pairs["correlation"] > threshold for threshold in thresholds}
    criteria["identical files"] = pairs["identical"]
    return pd.DataFrame([
        {"pairs of slices": name, **{group: int((met & member).sum()) for group, member in groups.items()}}
        for name, met in criteria.items()
    ])  # fmt: skip


def closest_pairs(nearest: pd.DataFrame, kind: Literal["within", "across"], *, count: int) -> pd.DataFrame:
    """The `count` closest pairs of slices of one patient ("within") or of two ("across"); a patient gives at most one.

    Returns
    -------
    DataFrame
        ``first, second`` (rows), ``correlation``; closest first, fewer than `count` where there are no more.
    """
    ranked = nearest[kind].dropna().sort_values(ascending=False, kind="stable")
    patients, seen, rows = nearest["patient"].to_numpy(), set(), []
    for row, value in ranked.items():
        other = int(nearest.at[row, f"{kind}_row"])
        pair = {patients[row], patients[other]}
        if not pair & seen:
            seen |= pair
            rows.append((min(row, other), max(row, other), value))
        if len(rows) == count:
            break
    return pd.DataFrame(rows, columns=["first", "second", "correlation"])


def audit(
    dataset: Dataset, *, duplicate_correlation: float = SIMILAR[-1], seed: int = 0, pairs: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Measure leakage, in slices and patients.

    Near-duplicates are pairs whose 32 x 32 thumbnails correlate above `duplicate_correlation`. The comparison with a split by slice
    redraws the same split sizes over slices and counts the test slices that have a sibling of the same patient in training.

    Parameters
    ----------
    pairs : DataFrame, optional
        Of `similar_slices` with a correlation not above `duplicate_correlation`, so that they need not be found again.

    Returns
    -------
    pandas.DataFrame
        Columns check, found, expected, meaning.
    """
    index = dataset.index
    pairs = similar_slices(dataset, correlation=duplicate_correlation).pairs if pairs is None else pairs
    duplicates = pairs[pairs["correlation"] > duplicate_correlation]
    within = int(duplicates["same_split"].sum())
    crossing = int((index.groupby("patient")["split"].nunique() > 1).sum())
    identical = int((index.groupby("sha256")["split"].nunique() > 1).sum())
    shuffled = index["split"].to_numpy()[np.random.default_rng(seed).permutation(len(index))]
    trained = set(index["patient"][shuffled == "train"])
    leaked = index["patient"][shuffled == "test"].isin(trained).mean() if (shuffled == "test").any() else 0.0
    rows = [
        ("patients in more than one split", crossing, 0, "a network could recognise the head instead of the tumour"),
        ("identical images in different splits", identical, 0, "same bytes under two names"),
        ("near-duplicate pairs across splits", len(duplicates) - within, 0,
         f"thumbnails correlating above {duplicate_correlation}"),
        ("near-duplicate pairs within a split", within, "any", "neighbouring slices of one series"),
        ("test slices leaked by a split by slice, %", round(100 * float(leaked), 1), "0 by patient",
         "test slices with a sibling of the same patient in training, had slices been split"),
    ]  # fmt: skip
    # As objects, so that counts stay whole beside a percentage.
    return pd.DataFrame(rows, columns=["check", "found", "expected", "meaning"], dtype=object)


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """Thumbnails with mean 0 and length 1, so that a product of two is their correlation; float32 (N, 1024)."""
    thumbnails = np.empty((len(images), THUMBNAIL**2), np.float32)
    for number, image in enumerate(images):
        thumbnails[number] = cv2.resize(image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).ravel()
    thumbnails -= thumbnails.mean(axis=1, keepdims=True)
    thumbnails /= np.maximum(np.linalg.norm(thumbnails, axis=1, keepdims=True), 1e-6)
    return thumbnails
