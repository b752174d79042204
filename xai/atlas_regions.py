"""What lies under a mask at a place in MNI152, read off the probabilistic Harvard-Oxford atlas at all weighted candidates of the place."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xai.atlas_poses import FRAMES
from xai.atlas_reference import load_atlas
from xai.paths import PLANES, StudyError

AXIS = {plane: FRAMES[plane][0] for plane in PLANES}
MAXIMUM_REGIONS = 5
LABEL_THRESHOLD = 0.25  # that of FSL's maximum-probability maps: below it a point has no most likely region
MIDLINE_MM = 3.0  # a centroid nearer than this, or a quarter of the mask across, is called midline
SMALLER_SHARE = 0.25
LEAST_LOBE_PROBABILITY = 0.1


@dataclass(frozen=True)
class Candidate:
    """One possible place: `pixel_to_mni` (3, 3) maps (row, column, 1) of a pixel centre to MNI152 mm."""

    weight: float
    pixel_to_mni: np.ndarray


@dataclass(frozen=True)
class Place:
    """Where a slice may lie.

    Attributes
    ----------
    plane : str
    through_plane_mm : float
        MNI coordinate along the plane's axis (axial z, coronal y, sagittal |x|) of the best candidate, at the level of
        the brain's centre; a tilted slice has another one elsewhere.
    candidates : tuple of Candidate
        Best first; weights sum to 1.
    score : float
        Normalised cross-correlation of the best candidate with the template, -1 to 1.
    through_plane_sd_mm : float
        Standard deviation of the through-plane coordinate over the candidates.
    detail : float, optional
        How much the slice shows, which has a say in that: mean gradient of the signal in the brain (`xai.atlas_matching.detail`).
    """

    plane: str
    through_plane_mm: float
    candidates: tuple[Candidate, ...]
    score: float
    through_plane_sd_mm: float
    detail: float | None = None


@dataclass(frozen=True)
class Region:
    """A Harvard-Oxford region under a mask; see `name_regions`."""

    name: str
    hemisphere: str
    probability: float
    overlap_percent: float
    kind: str


@dataclass(frozen=True)
class Anatomy:
    """What lies under a mask; see `name_regions`. Where no side is known, the centroid's x is its distance from the midline."""

    hemisphere: Literal["left", "right", "midline", "not determinable"]
    centroid_mni_mm: tuple[float, float, float] | None
    centroid_sd_mm: tuple[float, float, float] | None
    through_plane_sd_mm: float
    regions: tuple[Region, ...]
    outside_atlas_probability: float
    lobe: str | None
    match_score: float


def anatomy_at(points_mni: np.ndarray) -> np.ndarray:
    """Probability in [0, 1] of each region of `load_atlas().labels` at MNI mm points; (P, 3) -> (P, R), nearest voxel."""
    return load_atlas().probabilities(np.asarray(points_mni, float)).toarray()


def name_regions(
    mask: np.ndarray, place: Place, *, convention: Literal["radiological", "neurological"] | None = "radiological"
) -> Anatomy:
    """Name the regions under a mask.

    Parameters
    ----------
    mask : array (H, W)
        Nonzero pixels are named.
    place : Place
        Of the slice the mask belongs to.
    convention : {"radiological", "neurological"}, optional
        Which image side is the patient's left in axial and coronal slices: the right one in radiological convention. With
        None, and in sagittal slices, no side is said: left and right are merged, with equal odds for the slice and its mirror.

    Returns
    -------
    Anatomy
        `regions`: the up to five most probable. `probability` is the mean atlas probability over mask pixels and weighted
        candidates; `overlap_percent` the percent of mask pixels at which this region is the most likely one and has at least
        25 %. `outside_atlas_probability` is one minus the sum of all probabilities: cerebral white matter, cerebellum, sella
        and everything outside the brain have no label. `lobe` is the group of regions with the highest sum.

    Raises
    ------
    StudyError
        If the mask is empty, or the convention unknown.
    """
    pixels = np.argwhere(np.asarray(mask))
    if not len(pixels):
        raise StudyError("The mask is empty, expected at least one pixel to name; leave this slice out.")
    if convention not in ("radiological", "neurological", None):
        raise StudyError(f"The convention is {convention!r}, expected radiological, neurological or None (unknown).")
    sided = convention is not None and place.plane != "sagittal"
    points, weights = positions(pixels, place)  # (C, P, 3), (C,)
    if convention == "neurological":
        points = points * (-1, 1, 1)
    # Without a side, the x of the points is arbitrary: each counts half on either side.
    where = points if sided else np.concatenate([points, points * (-1, 1, 1)])
    probabilities = _mixture(where, weights if sided else np.tile(weights / 2, 2))  # (P, R)
    centroids = points.mean(axis=1) if sided else np.abs(points.mean(axis=1)) * (1, 0, 0) + points.mean(axis=1) * (0, 1, 1)
    axis = AXIS[place.plane]
    return Anatomy(
        hemisphere=_hemisphere(points, weights, place.plane, convention),
        centroid_mni_mm=tuple(float(value) for value in weights @ centroids),
        centroid_sd_mm=tuple(spread(centroids[:, number], weights) for number in range(3)),
        through_plane_sd_mm=spread(centroids[:, axis], weights),
        regions=_regions(probabilities, sided),
        outside_atlas_probability=float(np.clip(1 - probabilities.sum(axis=1).mean(), 0, 1)),
        lobe=_lobe(probabilities),
        match_score=place.score,
    )


def positions(pixels: np.ndarray, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """MNI mm of pixels (P, 2) at every candidate (C, P, 3), and the candidates' weights (C,)."""
    homogeneous = np.column_stack([pixels, np.ones(len(pixels))])
    maps = np.stack([candidate.pixel_to_mni for candidate in place.candidates])
    return homogeneous @ maps.transpose(0, 2, 1), np.array([candidate.weight for candidate in place.candidates])


def _mixture(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Atlas probabilities of each pixel, averaged over candidates; (C, P, 3), (C,) -> (P, R)."""
    atlas = load_atlas()
    return sum(weight * atlas.probabilities(of_candidate) for weight, of_candidate in zip(weights, points)).toarray()


def _hemisphere(points: np.ndarray, weights: np.ndarray, plane: str, convention: str | None) -> str:
    """Side of the mask; a sagittal slice tells the midline from a side, but not the sides from each other."""
    if convention is None:
        return "not determinable"
    middle = float(weights @ points[..., 0].mean(axis=1))
    if plane == "sagittal":
        return "midline" if abs(middle) < MIDLINE_MM else "not determinable"
    right = float(weights @ (points[..., 0] > 0).mean(axis=1))
    if abs(middle) < MIDLINE_MM or min(right, 1 - right) > SMALLER_SHARE:
        return "midline"
    return "right" if right > 0.5 else "left"


def _regions(probabilities: np.ndarray, sided: bool) -> tuple[Region, ...]:
    labels = load_atlas().labels
    members = defaultdict(list)
    for number, label in enumerate(labels):
        side = label.hemisphere if sided or label.hemisphere == "midline" else "not determinable"
        members[label.name, side if sided else "not determinable", label.kind].append(number)
    merged = np.stack([probabilities[:, numbers].sum(axis=1) for numbers in members.values()], axis=1)
    mean = merged.mean(axis=0)
    likeliest = np.where(merged.max(axis=1) >= LABEL_THRESHOLD, merged.argmax(axis=1), -1)
    return tuple(
        Region(name, side, float(min(mean[number], 1)), float(100 * (likeliest == number).mean()), kind)
        for number, (name, side, kind) in sorted(enumerate(members), key=lambda entry: -mean[entry[0]])[:MAXIMUM_REGIONS]
        if mean[number] >= 0.005
    )


def _lobe(probabilities: np.ndarray) -> str | None:
    sums = defaultdict(float)
    for label, value in zip(load_atlas().labels, probabilities.mean(axis=0)):
        sums[label.lobe] += float(value)
    lobe = max(sums, key=sums.get)
    return lobe if sums[lobe] >= LEAST_LOBE_PROBABILITY else None


def spread(values: np.ndarray, weights: np.ndarray) -> float:
    """Weighted standard deviation."""
    return float(np.sqrt(np.average((values - np.average(values, weights=weights)) ** 2, weights=weights)))
