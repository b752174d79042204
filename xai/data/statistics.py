"""Grey values, masks and places of every slice, read through the memory map a block at a time, and what stands out."""

from __future__ import annotations

from typing import Iterator, Mapping

import numpy as np
import pandas as pd
from scipy import ndimage

from xai.data.dataset import Dataset
from xai.paths import LABELS, PLANES

# Of 255: air lies below and tissue above; moving it from 10 to 20 moves the background's share by three points of hundred,
# on the phantom as on figshare's slices.
BACKGROUND = 15
SLICES_AT_ONCE = 256
EIGHT_NEIGHBOURS = np.array([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))], bool)  # within a slice, never between two
INTENSITY = {
    "tissue_mean": "tissue mean", "tissue_sd": "tissue sd", "background_percent": "background %",
    "contrast_percent": "tumour contrast %",
}  # fmt: skip
MASK = {
    "area_percent": "area %", "extent_percent": "longest side %", "in_pieces": "in pieces %", "touches_border": "at the edge %",
}  # fmt: skip
TINY_PERCENT = 0.1
FAR = 3.0  # Tukey's far fences: quartiles plus or minus so many times their distance


def slice_statistics(dataset: Dataset) -> pd.DataFrame:
    """Measure every slice and its mask; memory stays at one block of 256 slices.

    Returns
    -------
    DataFrame
        ``id, label, patient, plane, split`` and, of each slice

        - ``tissue_mean, tissue_sd``: grey values (0-255) of all pixels above the background's 15;
        - ``background_percent``: share of the image at or below it;
        - ``contrast_percent``: tumour mean minus the mean of the tissue outside the mask, in % of the latter (Weber contrast);
        - ``area_percent``: mask in % of the image; ``extent_percent``: longest side of its bounding box in % of the image's side;
        - ``components``: pieces of the mask (8 neighbours) and ``largest_percent``, the largest of them in % of the mask;
        - ``in_pieces`` (more than one), ``touches_border`` (a mask pixel on the image's edge);
        - ``outside_percent``: share of the mask that lies on background;
        - ``row, column``: centroid of the mask in pixels.

        NaN where nothing can be measured: no tissue, or an empty mask.
    """
    measured = pd.concat([pd.DataFrame(_measure(images, masks)) for images, masks in _blocks(dataset)], ignore_index=True)
    return pd.concat([dataset.index[["id", "label", "patient", "plane", "split"]], measured], axis=1)


def mean_slices(dataset: Dataset, split: str = "train") -> dict[str, np.ndarray]:
    """Mean slice of each plane in a split, float (S, S), planes in the order of `planes_in`."""
    size = dataset.images.shape[1:]
    plane = dataset.index["plane"].where(dataset.index["split"] == split).to_numpy()
    sums = {name: np.zeros(size) for name in planes_in(plane[dataset.rows(split)])}
    for number, (images, _) in enumerate(_blocks(dataset)):
        here = plane[number * SLICES_AT_ONCE :][: len(images)]
        for name in sums:
            sums[name] += images[here == name].sum(axis=0, dtype=np.int64)
    return {name: total / (plane == name).sum() for name, total in sums.items()}


def planes_in(planes) -> list[str]:
    """The planes that occur: axial, coronal, sagittal, then any other name a source gives ("unknown")."""
    present = {str(plane) for plane in planes}
    return [plane for plane in PLANES if plane in present] + sorted(present - set(PLANES))


def statistics_table(statistics: pd.DataFrame, measures: Mapping[str, str]) -> pd.DataFrame:
    """Mean of each measure with the range of the middle 80 % of slices, by class, by plane, by split and by all three.

    Parameters
    ----------
    statistics : DataFrame
        Of `slice_statistics`.
    measures : mapping of column -> name in the table
        For example `INTENSITY` or `MASK`. A yes-or-no measure gives the % of slices and no range.

    Returns
    -------
    DataFrame
        ``by`` (all, class, plane, split, class x plane x split), ``group``, ``slices``, ``patients``, and for each measure
        ``<name>, <name>_low, <name>_high`` (10th and 90th percentile).
    """
    orders = {"label": list(LABELS), "plane": planes_in(statistics["plane"]), "split": ["train", "validation", "test", "unused"]}
    keyed = statistics.assign(**{name: pd.Categorical(statistics[name], order) for name, order in orders.items()})
    groupings = {"class": ["label"], "plane": ["plane"], "split": ["split"], "class x plane x split": list(orders)}
    rows = [_summary(statistics, measures, by="all", group="all")]
    for by, columns in groupings.items():
        for key, part in keyed.groupby(columns, observed=True, sort=True):
            rows.append(_summary(part, measures, by=by, group=" ".join(key)))
    return pd.DataFrame(rows)


def outliers(statistics: pd.DataFrame) -> pd.DataFrame:
    """Slices worth a look before anyone trusts them, each with the reason; one row per slice and reason.

    A mask is flagged that is empty, tiny (under 0.1 % of the image: a disc of 1/28 of its side), in several pieces, on the image's
    edge, or more than half on background. A measure is flagged beyond Tukey's far fences (three times the distance of the quartiles
    beyond them): grey values and contrast among the slices of the plane, the mask's area (its logarithm) and extent among those of
    the class.

    Returns
    -------
    DataFrame
        ``row`` (in the dataset), ``id, label, plane, split, reason, measure, value``, in order of reason and row.
    """
    masked = statistics["area_percent"] > 0
    flags = [  # reason, which measure shows it, where
        ("mask is empty", "area_percent", ~masked),
        ("mask is tiny", "area_percent", masked & (statistics["area_percent"] < TINY_PERCENT)),
        ("mask in several pieces", "components", statistics["components"] > 1),
        ("mask on the image's edge", "extent_percent", statistics["touches_border"]),
        ("mask mostly on background", "outside_percent", statistics["outside_percent"] > 50),
    ]
    logarithm = np.log(statistics["area_percent"].where(masked))
    fences = [
        ("mask's area", "area_percent", logarithm, "label"),
        ("mask's longest side", "extent_percent", statistics["extent_percent"], "label"),
    ]
    greys = zip(INTENSITY, ("tissue's mean", "tissue's sd", "background", "tumour contrast"))
    fences += [(name, column, statistics[column], "plane") for column, name in greys]
    for name, column, values, group in fences:
        low, high = (values.groupby(statistics[group]).transform("quantile", q) for q in (0.25, 0.75))
        reach = FAR * (high - low)
        flags.append((f"{name} far below others", column, values < low - reach))
        flags.append((f"{name} far above others", column, values > high + reach))
    shown = {**INTENSITY, **MASK, "components": "pieces", "outside_percent": "on background %"}
    flagged = [
        statistics.loc[where, ["id", "label", "plane", "split"]].assign(
            row=np.flatnonzero(where), reason=reason, measure=shown[column], value=statistics.loc[where, column].astype(float))
        for reason, column, where in flags
    ]  # fmt: skip
    return pd.concat(flagged, ignore_index=True)[["row", "id", "label", "plane", "split", "reason", "measure", "value"]]


def _blocks(dataset: Dataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images and masks as arrays in memory, 256 slices at a time."""
    for start in range(0, len(dataset.images), SLICES_AT_ONCE):
        part = slice(start, start + SLICES_AT_ONCE)
        yield np.asarray(dataset.images[part]), np.asarray(dataset.masks[part])


def _measure(images: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
    """The measured columns of `slice_statistics` for a block (B, S, S)."""
    mask, tissue = masks > 0, images > BACKGROUND
    tissue_mean, tissue_sd = _mean_and_sd(images, tissue)
    rest_mean, _ = _mean_and_sd(images, tissue & ~mask)
    tumour_mean, _ = _mean_and_sd(images, mask)
    area, pixels = mask.sum(axis=(1, 2)), mask[0].size
    components, largest = _components(mask)
    border = mask.copy()
    border[:, 1:-1, 1:-1] = False
    longest = np.max([_span(mask.any(axis=other)) for other in (1, 2)], axis=0)
    centroid = _centroids(masks)
    per_mask = 100 / np.where(area > 0, area, np.nan)
    return {
        "tissue_mean": tissue_mean, "tissue_sd": tissue_sd,
        "background_percent": 100 * (1 - tissue.sum(axis=(1, 2)) / pixels),
        "contrast_percent": 100 * (tumour_mean / rest_mean - 1),
        "area_percent": 100 * area / pixels, "extent_percent": np.where(area > 0, 100 * longest / mask.shape[1], np.nan),
        "components": components, "largest_percent": per_mask * largest,
        "in_pieces": components > 1, "touches_border": border.any(axis=(1, 2)),
        "outside_percent": per_mask * (mask & ~tissue).sum(axis=(1, 2)),
        "row": centroid[:, 0], "column": centroid[:, 1],
    }  # fmt: skip


def _mean_and_sd(images: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (B,) of the pixels where `where`, from whole-number sums; NaN without any."""
    values = np.where(where, images, 0).astype(np.int64)
    count = where.sum(axis=(1, 2)).astype(float)
    count[count == 0] = np.nan
    mean = values.sum(axis=(1, 2)) / count
    return mean, np.sqrt(np.maximum((values**2).sum(axis=(1, 2)) / count - mean**2, 0))


def _centroids(masks: np.ndarray) -> np.ndarray:
    """Row and column of each mask's centroid, float (B, 2); NaN for an empty mask."""
    mask = masks > 0
    by_row, by_column = mask.sum(axis=2), mask.sum(axis=1)  # (B, S)
    area = by_row.sum(axis=1).astype(float)
    area[area == 0] = np.nan
    return np.stack([by_row @ np.arange(by_row.shape[1]), by_column @ np.arange(by_column.shape[1])], axis=1) / area[:, None]


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of pieces of each mask and the pixels of the largest, int (B,)."""
    pieces, count = ndimage.label(mask, EIGHT_NEIGHBOURS)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    owner = np.zeros(count, int)
    slices, rows, columns = np.nonzero(pieces)
    owner[pieces[slices, rows, columns] - 1] = slices
    largest = np.zeros(len(mask), int)
    np.maximum.at(largest, owner, sizes)
    return np.bincount(owner, minlength=len(mask)), largest


def _span(any_along: np.ndarray) -> np.ndarray:
    """Length from the first to the last True of each row of (B, S); 0 without any."""
    length = any_along.shape[1]
    return np.where(any_along.any(axis=1), length - any_along.argmax(axis=1) - any_along[:, ::-1].argmax(axis=1), 0)


def _summary(part: pd.DataFrame, measures: Mapping[str, str], *, by: str, group: str) -> dict:
    record: dict = {"by": by, "group": group, "slices": len(part), "patients": part["patient"].nunique()}
    for column, name in measures.items():
        values = part[column].dropna()
        share = values.dtype == bool
        record[name] = (100 if share else 1) * float(values.mean()) if len(values) else np.nan
        if not share:
            low, high = values.quantile([0.1, 0.9]) if len(values) else (np.nan, np.nan)
            record |= {f"{name}_low": low, f"{name}_high": high}
    return record
