"""One 2-D slice -> its place in MNI152 -> Harvard-Oxford regions with probabilities.

`localise` compares the slice with slices of a template head and keeps several weighted places, because one slice never
fixes its position exactly. `name_regions` reads the probabilistic Harvard-Oxford atlas at all of them.

Slices are expected the way the figshare set shows them: axial with the front up, coronal with the top up, sagittal with
the top up and the nose to the left. The template is its own mirror image and cannot tell left from right: `localise`
assumes the radiological convention (image left = patient's right) and places sagittal slices at x >= 0, and
`name_regions` says a side only where a convention is given and the plane shows both sides.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from xai import atlas_matching as matching
from xai.atlas_poses import FRAMES, matrices
from xai.atlas_reading import CELLS, Reading, read
from xai.atlas_reference import Atlas, Label, Templates, load_atlas, load_templates
from xai.atlas_regression import Fit, fit
from xai.paths import PLANES, StudyError

__all__ = [
    "Anatomy", "Atlas", "Candidate", "Label", "NotLocalisable", "Place", "Region", "Templates", "anatomy_at",
    "load_atlas", "load_templates", "localise", "name_regions",
]  # fmt: skip

AXIS = {plane: FRAMES[plane][0] for plane in PLANES}
# Beyond these limits the network does not read an image as it reads heads. Of 2,537 real slices none has more than half of the first, and
# 98.5 % are below the second; what it refuses of other pictures was in view when it was chosen, among a dozen ways (benchmarks/localisation.py).
NO_HEAD, STRANGENESS = 0.02, 1.5
LEAST_HEAD_LOG_ODDS = -2.9  # 99.5 % of the real slices are above it, which alone set it
MAXIMUM_CANDIDATES = 12
CANDIDATE_SPACING_MM = 2.0
MAXIMUM_REGIONS = 5
LABEL_THRESHOLD = 0.25  # that of FSL's maximum-probability maps: below it a point has no most likely region
MIDLINE_MM = 3.0  # a centroid nearer than this, or a quarter of the mask across, is called midline
SMALLER_SHARE = 0.25
LEAST_LOBE_PROBABILITY = 0.1


class NotLocalisable(StudyError):
    """The image shows no brain that could be placed in the template."""


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
    """

    plane: str
    through_plane_mm: float
    candidates: tuple[Candidate, ...]
    score: float
    through_plane_sd_mm: float


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


def localise(
    image: np.ndarray, *, plane: str | None = None, exclude: np.ndarray | None = None, method: Literal["both", "retrieval", "regression"] = "both"
) -> Place:
    """Find the place of a slice in MNI152 space.

    Parameters
    ----------
    image : array (H, W)
        Head or skull-stripped brain, bright on dark, any scale; 64 pixels a side are enough.
    plane : {"axial", "coronal", "sagittal"}, optional
        Where not given, the one that the network reads in the slice; the best matching one for "retrieval".
    exclude : array (H, W), optional
        Nonzero pixels, such as a tumour, are left out of the comparison.
    method : {"both", "retrieval", "regression"}
        Comparison with the template ("retrieval"), what a network reads in the slice ("regression"), or both in one posterior. The
        single ones are there to be compared.

    Raises
    ------
    NotLocalisable
        If the image is empty, or resembles no slice of a head.
    StudyError
        If the plane is unknown, or the shapes do not fit.
    """
    image = np.asarray(image)
    _check(image, plane, exclude)
    image, known = matching.square_with_weights(image, exclude)
    level = matching.brain_level(image, known)
    if level <= 0 or np.ptp(image[known > 0]) < 0.1 * level:
        raise NotLocalisable(
            f"The image of values {image.min():g} to {image.max():g} shows no structure, expected a slice of a head; "
            "leave it out or give another image."
        )
    coarse, fine = (matching.prepare(image, known, level, size) for size in (matching.COARSE_PIXELS, matching.FINE_PIXELS))
    reading = None if method == "retrieval" else read(image)
    # The network is right about the plane where a match errs: coronal and sagittal slices resemble others of the template.
    planes = [plane] if plane else PLANES if reading is None else [PLANES[int(np.argmax(reading.planes[: len(PLANES)]))]]
    fits = {name: None if reading is None else fit(reading, name, _usable(known)) for name in planes}
    if reading is not None:
        _refuse_strange(reading, fits[planes[0]])
    if method == "regression":
        matches = [matching.match_read(fine, found) for found in fits.values()]
    else:
        matches = [match for name in planes for match in matching.match_plane(coarse, fine, name, fits[name])]
    best = max(matches, key=lambda match: match.quality)
    if not best.likeness.is_head:
        raise NotLocalisable(
            f"The image resembles no {best.plane} slice of a head (signal correlation {best.likeness.correlation:.2f}, expected "
            f"at least {matching.LOWEST_CORRELATION}, with dark air, structure in the brain and an ordinary size and place); "
            "leave it out or check its plane and orientation."
        )
    return _as_place(best, side=len(image))


def _refuse_strange(reading: Reading, found: Fit | None) -> None:
    """A picture that is no slice of a head, or shows hardly any brain, is read as none is.

    Some slices of heads are read with a large expected error, some far from any plane, some undecided about brain; only other pictures
    with much of all three. So the limit is on the product. The check for heads was trained on other pictures, and sees what these miss.
    """
    if found is None:
        raise NotLocalisable("The network reads hardly any brain in the image, expected a slice of a head; leave it out or give another image.")
    strangeness = reading.unsure_mm * found.residual_mm * reading.undecided
    reasons = {
        f"takes the image for no head with a probability of {reading.planes[-1]:.2f} (at most {NO_HEAD})": reading.planes[-1] > NO_HEAD,
        f"finds features unlike a head's (log odds {reading.head_log_odds:.1f}, at least {LEAST_HEAD_LOG_ODDS})": reading.head_log_odds < LEAST_HEAD_LOG_ODDS,
        f"reads it as no {found.plane} slice is read (strangeness {strangeness:.1f}, at most {STRANGENESS}: an expected error of {reading.unsure_mm:.1f} mm, "
        f"{found.residual_mm:.1f} mm off a plane, {reading.undecided:.2f} undecided about brain)": strangeness > STRANGENESS,
    }
    if any(reasons.values()):
        said = " and ".join(reason for reason, applies in reasons.items() if applies)
        raise NotLocalisable(f"The network {said}, expected a slice of a head, upright, in its own plane; leave it out or give another image.")


def _usable(known: np.ndarray) -> np.ndarray:
    """Share of each cell of the reading that is known."""
    return cv2.resize(known, (CELLS, CELLS), interpolation=cv2.INTER_AREA)


def _check(image: np.ndarray, plane: str | None, exclude: np.ndarray | None) -> None:
    if image.ndim != 2 or min(image.shape) < 32:
        raise StudyError(f"The image has shape {image.shape}, expected one grey slice (H, W) of at least 32 pixels a side.")
    if not np.isfinite(image).all():
        raise StudyError("The image holds values that are not finite, expected finite grey levels; replace them by 0.")
    if plane is not None and plane not in PLANES:
        raise StudyError(f"The plane is {plane!r}, expected one of {', '.join(PLANES)}, or None to find it.")
    if exclude is not None and np.shape(exclude) != image.shape:
        raise StudyError(f"The mask to exclude has shape {np.shape(exclude)}, expected that of the image, {image.shape}.")
    if exclude is not None and np.all(exclude):
        raise NotLocalisable("The mask to exclude covers the whole image, expected some head around it; give a smaller mask.")


def _as_place(match: matching.Match, side: int) -> Place:
    """The best pose of each few millimetres along the axis becomes a candidate."""
    _, first = np.unique(np.rint(match.poses[:, 0] / CANDIDATE_SPACING_MM), return_index=True)
    kept = np.sort(first)[:MAXIMUM_CANDIDATES]
    weights = np.exp((match.scores[kept] - match.scores[0]) / matching.TEMPERATURE)
    weights /= weights.sum()
    through = match.poses[kept, 0]
    # Centre of pixel (0, 0) is half a pixel inside the image.
    fraction = np.array([[1 / side, 0, 0.5 / side], [0, 1 / side, 0.5 / side], [0, 0, 1]])
    maps = matrices(match.poses[kept], match.plane) @ fraction
    candidates = tuple(Candidate(float(weight), matrix) for weight, matrix in zip(weights, maps))
    return Place(match.plane, float(through[0]), candidates, match.ncc, _spread(through, weights))


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
        centroid_sd_mm=tuple(_spread(centroids[:, number], weights) for number in range(3)),
        through_plane_sd_mm=_spread(centroids[:, axis], weights),
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


def _spread(values: np.ndarray, weights: np.ndarray) -> float:
    return float(np.sqrt(np.average((values - np.average(values, weights=weights)) ** 2, weights=weights)))
