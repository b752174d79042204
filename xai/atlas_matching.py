"""Finds where a slice lies in a template head: an exhaustive coarse search, then refinement of the best poses.

The coarse search scores every position along the plane's axis, field of view and shift in the plane at once: the weighted
normalised cross-correlation (NCC) of all shifts is a few Fourier transforms (Padfield 2012, doi 10.1109/TIP.2011.2181402,
with weights for masks). `xai.atlas_refinement` then refines the most promising positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy import fft, ndimage

from xai.atlas_poses import PRIOR_MEAN, PRIOR_SD, RANGE_MM, log_prior, matrices
from xai.atlas_reference import (
    BRIGHTEST, CONTRAST_MM, FACE_AND_NECK_WEIGHT, SCALP_AND_AIR_WEIGHT, SKULL_WEIGHT, load_templates, local_contrast,
)  # fmt: skip
from xai.atlas_refinement import SEEDS, refine
from xai.atlas_regression import Fit

POSITION_STEP_MM = 5.0
FIELDS_MM = (178.0, 194.0, 212.0, 231.0, 252.0, 275.0)
COARSE_PIXELS, PADDED_PIXELS, FINE_PIXELS = 64, 96, 48
AT_ONCE = 8  # template slices, so that what is computed for them stays in the processor's cache

SCALP_EXCESS = -0.05  # of the brain's signal; 5 % of real heads are lower, slices of the stripped MNI152 T1 are below -0.09
LOWEST_CORRELATION = 0.6
READ_SEEDS = 4  # of all seeds
READING_WEIGHT = 3.0  # chosen, with `atlas_regression.INFLATION`, on half of the patients of the anchor; see benchmarks/localisation.py
DRAWS = 150
# Scores overstate the evidence, because heads differ from the template. Chosen so that 90 % intervals hold the level of nine in ten slices
# of three glioma patients, with SRI24 in view, and knowing that Colin27's had been too wide; `xai.atlas.WIDTH` mends what that leaves.
TEMPERATURE = 27.0
# Number of pixels that count in a slice, as if their noise were independent: the likelihood of Gaussian noise of unknown size, -n/2 log(1 - NCC^2),
# says more the better the match; the coarse search, which only ranks, keeps n NCC. Chosen among 400 (of the plain NCC), 600 and 1000 on the same
# four heads and half of the anchor's patients.
SHARPNESS = 600.0
# A slice near the vertex has fewer of them, and its likeness to others says less: of the cells of a reading that show brain so many have the
# whole weight. Chosen among eight ways on SRI24, three patients and half of the anchor's patients, after maps of all errors had been seen.
FULL_CELLS, LEAST_SHARE = 200, 0.1


@dataclass(frozen=True)
class Likeness:
    """What tells a head from anything else.

    The limits keep about 98 % of 240 real slices; they were set on those and on noise, ramps, discs and squares.

    Attributes
    ----------
    correlation : float
        Of the signal with the template's, over brain, skull, scalp and air: brain is bright, skull and air are dark.
    flat_share : float
        Share of the brain's tissue within 2 % of its median: brain has structure.
    air_level : float
        75th percentile of the signal where air should be, as a multiple of the brain's.
    log_prior : float
        How ordinary the pose is.
    """

    correlation: float
    flat_share: float
    air_level: float
    log_prior: float

    @property
    def is_head(self) -> bool:
        alike = self.correlation >= LOWEST_CORRELATION and self.log_prior >= -8.0
        return alike and self.flat_share <= 0.5 and self.air_level <= 0.4


def square_with_weights(image: np.ndarray, exclude: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Pad to a square at the bottom and right, so that rows and columns keep their numbers; 1 where a pixel is known."""
    side = max(image.shape)
    known = np.ones(image.shape, np.float32) if exclude is None else 1 - (np.asarray(exclude) > 0).astype(np.float32)
    margin = [(0, side - size) for size in image.shape]
    return np.pad(np.asarray(image, np.float32), margin), np.pad(known, margin)


def brain_level(image: np.ndarray, known: np.ndarray) -> float:
    """Median of the foreground: the brain's signal, because brain fills most of a head; 0 for an empty image."""
    scale = np.percentile(image, 99.5)
    if scale <= 0:
        return 0.0
    levels = np.clip(image / scale * 255, 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)
    # Otsu parts air and tissue, or brain and fat; a little lower it is always the former.
    foreground = (levels > 0.6 * threshold) & (known > 0.5)
    return float(np.median(image[foreground])) if foreground.any() else 0.0


@dataclass(frozen=True)
class Prepared:
    """A slice at working size: local contrast to match, signal as a multiple of the brain's, 1 where known; all (S, S)."""

    contrast: np.ndarray
    signal: np.ndarray
    known: np.ndarray


def prepare(image: np.ndarray, known: np.ndarray, level: float, pixels: int) -> Prepared:
    """Reduce a square image to `pixels` a side and take its local contrast; `level` is its `brain_level`."""
    size = (pixels, pixels)
    share = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    signal = cv2.resize(image * known, size, interpolation=cv2.INTER_AREA) / np.maximum(share, 0.05)
    known = (share > 0.5).astype(np.float32)
    signal = np.minimum(signal / level, BRIGHTEST) * known
    sigma = CONTRAST_MM * pixels / np.exp(PRIOR_MEAN[1])
    return Prepared(local_contrast(signal, sigma, known), signal, known)


def detail(prepared: Prepared, brain: np.ndarray) -> float | None:
    """Mean gradient of the signal where brain is known, brains a pixel: how much a slice shows. Thick slices and blurred ones show less. None without brain.

    `brain` (C, C) of bool is on any grid.
    """
    seen = cv2.resize(brain.astype(np.uint8), prepared.known.shape, interpolation=cv2.INTER_NEAREST) * prepared.known > 0
    return float(np.hypot(*np.gradient(prepared.signal))[seen].mean()) if seen.any() else None


@lru_cache(maxsize=6)
def _bank(plane: str, stripped: bool) -> tuple[np.ndarray, np.ndarray]:
    """Conjugate spectra of w, w t, w t^2 of all template slices (T, 3, ., .), and their poses (T, 8)."""
    templates = load_templates(stripped=stripped)
    low, high = RANGE_MM[plane]
    grid = np.meshgrid(np.arange(low, high + 0.1, POSITION_STEP_MM), np.log(FIELDS_MM), indexing="ij")
    poses = np.tile(PRIOR_MEAN, (grid[0].size, 1))
    poses[:, :2] = np.stack([part.ravel() for part in grid], axis=1)
    # The centre of the brain goes to pixel 0 (cyclically), so that the place of a peak is the place of that centre.
    fractions = fft.ifftshift(np.arange(PADDED_PIXELS) - PADDED_PIXELS // 2) / COARSE_PIXELS + 0.5
    spectra = []
    for matrix in matrices(poses, plane):
        contrast, weight = (part.reshape(PADDED_PIXELS, PADDED_PIXELS) for part in templates.on_grid(matrix[None], fractions))
        spectra.append(np.conj(fft.rfft2(np.stack([weight, weight * contrast, weight * contrast**2]))))
    return np.array(spectra, np.complex64), poses


def coarse_search(prepared: Prepared, plane: str, *, stripped: bool) -> tuple[np.ndarray, np.ndarray]:
    """Best pose of each template slice, scored by NCC and prior.

    Parameters
    ----------
    prepared : Prepared
        Of 64 x 64 pixels.
    plane : str
    stripped : bool
        Whether to compare with a brain on black instead of a head.

    Returns
    -------
    poses : ndarray, shape (T, 8)
    scores : ndarray, shape (T,)
        Log posterior up to a constant.
    """
    spectra, poses = _bank(plane, stripped)
    image, known = prepared.contrast, prepared.known
    margin = PADDED_PIXELS - COARSE_PIXELS
    parts = np.pad(np.stack([known, image * known, image**2 * known]), [(0, 0), (0, margin), (0, margin)])
    own = fft.rfft2(parts)
    # Pixel p of the padded image is at (p + 1/2) / 64; the far end is what lies before the first pixel.
    place = (np.arange(PADDED_PIXELS) + 0.5) / COARSE_PIXELS
    place = np.where(place > 1 + margin / 2 / COARSE_PIXELS, place - PADDED_PIXELS / COARSE_PIXELS, place)
    prior = (-0.5 * ((place - 0.5) / PRIOR_SD[5]) ** 2).astype(np.float32)
    best, scores = np.empty(len(poses), int), np.empty(len(poses), np.float32)
    for first in range(0, len(poses), AT_ONCE):
        some = slice(first, first + AT_ONCE)

        def sums(of_image: int, of_template: int) -> np.ndarray:
            return fft.irfft2(own[of_image] * spectra[some, of_template], s=(PADDED_PIXELS, PADDED_PIXELS), overwrite_x=True)

        found = SHARPNESS * _ncc(sums(0, 0), sums(1, 0), sums(2, 0), sums(0, 1), sums(0, 2), sums(1, 1))
        found = (found + (prior[:, None] + prior)).reshape(-1, PADDED_PIXELS**2)
        best[some], scores[some] = found.argmax(axis=1), found.max(axis=1)
    poses = poses.copy()
    poses[:, 5], poses[:, 6] = place[best // PADDED_PIXELS], place[best % PADDED_PIXELS]
    return poses, scores - 0.5 * ((poses[:, 1] - PRIOR_MEAN[1]) / PRIOR_SD[1]) ** 2


def _ncc(weight, image, image_squared, template, template_squared, product) -> np.ndarray:
    """Weighted normalised cross-correlation from sums of w, w i, w i^2, w t, w t^2, w i t."""
    share = 1 / np.maximum(weight, 1e-3)
    image_mean, template_mean = image * share, template * share
    deviations = np.maximum(image_squared * share - image_mean**2, 1e-4)
    deviations *= np.maximum(template_squared * share - template_mean**2, 1e-4)
    return (product * share - image_mean * template_mean) / np.sqrt(deviations, out=deviations)


class Slice:
    """What a pose is scored against: one prepared slice, its plane, and the template of a head or of a stripped brain."""

    def __init__(self, prepared: Prepared, plane: str, *, stripped: bool, read: Fit | None = None) -> None:
        self.plane, self.templates, self.read = plane, load_templates(stripped=stripped), read
        self.sharpness = SHARPNESS * (np.clip(read.cells / FULL_CELLS, LEAST_SHARE, 1.0) if read else 1.0)
        image, self.known, self.signal = (part.ravel() for part in (prepared.contrast, prepared.known, prepared.signal))
        self.moments = np.stack([self.known, self.known * image, self.known * image**2], axis=1)
        self.centres = (np.arange(len(prepared.known)) + 0.5) / len(prepared.known)

    def score(self, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log posterior up to a constant, and NCC in [-1, 1], of each pose; (P, 8) -> (P,), (P,)."""
        contrast, weight = self.templates.on_grid(matrices(poses, self.plane), self.centres)
        own = weight @ self.moments
        weight *= contrast
        both = weight @ self.moments[:, :2]
        weight *= contrast
        ncc = _ncc(*own.T, both[:, 0], weight @ self.known, both[:, 1])
        agreement = READING_WEIGHT * self.read.log_density(poses) if self.read else 0.0
        likelihood = -0.5 * self.sharpness * np.log1p(-np.clip(ncc, 0, 0.99) ** 2)
        return likelihood + log_prior(poses, self.plane) + agreement, ncc

    def likeness(self, pose: np.ndarray) -> Likeness:
        """How far the plain signal is that of a head at this pose: local contrast alone can be matched by chance."""
        rows, columns = np.meshgrid(self.centres, self.centres, indexing="ij")
        pixels = np.stack([rows, columns, np.ones_like(rows)], axis=-1).reshape(-1, 3)
        points = pixels @ matrices(pose[None], self.plane)[0].T
        weight, signal = self.templates.sample("weight", points), self.templates.sample("signal", points)
        head = (weight > (FACE_AND_NECK_WEIGHT + SCALP_AND_AIR_WEIGHT) / 2) & (self.known > 0)
        brain = self.signal[head & (self.templates.sample("brain", points) > 0.5)]
        air = self.signal[head & (weight < (SCALP_AND_AIR_WEIGHT + SKULL_WEIGHT) / 2) & (signal < 0.05)]
        tissue = brain[brain > 0.5]
        if len(tissue) < 10 or self.signal[head].std() < 1e-3:
            return Likeness(0.0, 1.0, 1.0, float(log_prior(pose[None], self.plane)[0]))
        return Likeness(
            correlation=float(np.corrcoef(self.signal[head], signal[head])[0, 1]),
            flat_share=float(np.mean(np.abs(tissue - np.median(tissue)) < 0.02)),
            air_level=float(np.percentile(air, 75)) if len(air) else 0.0,
            log_prior=float(log_prior(pose[None], self.plane)[0]),
        )


@dataclass(frozen=True)
class Match:
    """All poses tried in one plane, best first, and the best one's NCC and likeness to a head."""

    plane: str
    poses: np.ndarray
    scores: np.ndarray
    ncc: float
    likeness: Likeness

    @property
    def quality(self) -> float:
        """To compare planes: contrast and plain signal err in different slices."""
        return self.ncc + self.likeness.correlation


def match_plane(coarse: Prepared, fine: Prepared, plane: str, read: Fit | None = None) -> list[Match]:
    """Best match to a head; or, where no scalp shows, also to a brain without skull if the coarse search prefers it.

    With `read`, what the network read in the slice, its poses are refined beside those of the coarse search, and all are judged by both.
    """
    head = coarse_search(coarse, plane, stripped=False)
    matches = [_refined(fine, plane, *head, stripped=False, read=read)]
    if not _shows_scalp(coarse.signal):
        brain = coarse_search(coarse, plane, stripped=True)
        if brain[1].max() > head[1].max():
            matches.append(_refined(fine, plane, *brain, stripped=True, read=read))
    return matches


def _shows_scalp(signal: np.ndarray) -> bool:
    """Is the outermost centimetre as bright as what lies below it? Scalp fat is; cortex and partial volume are darker."""
    parts, count = ndimage.label(signal > 0.35)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    if not count:
        return False
    largest = ndimage.binary_fill_holes(parts == 1 + sizes.argmax())
    # Beyond the image's border tissue goes on: a neck cut off there has no surface.
    depth = ndimage.distance_transform_edt(np.pad(largest, 1, mode="edge"))[1:-1, 1:-1]
    rim, below = signal[(depth > 0) & (depth <= 2.5)], signal[(depth > 2.5) & (depth < 6)]
    return bool(len(below) and np.median(rim) - np.median(below) > SCALP_EXCESS)


def _refined(fine: Prepared, plane: str, poses: np.ndarray, scores: np.ndarray, *, stripped: bool, read: Fit | None) -> Match:
    order = np.argsort(-scores)
    _, first = np.unique(poses[order, 0], return_index=True)  # the best field of view of each position
    seeds = poses[order[np.sort(first)]][:SEEDS]
    if read:
        seeds = np.concatenate([read.draws(READ_SEEDS), seeds[: SEEDS - READ_SEEDS]])
    target = Slice(fine, plane, stripped=stripped, read=read)
    poses, scores, nccs = refine(target, seeds)
    return Match(plane, poses, scores, float(nccs[0]), target.likeness(poses[0]))


def match_read(fine: Prepared, read: Fit) -> Match:
    """The poses that the network's reading allows, without comparing them with the template; its NCC and likeness are still told."""
    target, poses = Slice(fine, read.plane, stripped=False), read.draws(DRAWS)
    poses = poses[np.argsort(-read.log_density(poses), kind="stable")]
    return Match(read.plane, poses, TEMPERATURE * read.log_density(poses), float(target.score(poses[:1])[1][0]), target.likeness(poses[0]))
