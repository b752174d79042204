"""One 2-D slice -> its place in MNI152 -> Harvard-Oxford regions with probabilities.

`localise` compares the slice with slices of a template head and keeps several weighted places, because one slice never
fixes its position exactly. `name_regions` reads the probabilistic Harvard-Oxford atlas at all of them.

Slices are expected the way the figshare set shows them: axial with the front up, coronal with the top up, sagittal with
the top up and the nose to the left. The template is its own mirror image and cannot tell left from right: `localise`
assumes the radiological convention (image left = patient's right) and places sagittal slices at x >= 0, and
`name_regions` says a side only where a convention is given and the plane shows both sides.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from xai import atlas_matching as matching
from xai.atlas_poses import RANGE_MM, matrices
from xai.atlas_reading import CELLS, Reading, read
from xai.atlas_reference import Atlas, Label, Templates, load_atlas, load_templates
from xai.atlas_regions import AXIS, Anatomy, Candidate, Place, Region, anatomy_at, name_regions, spread
from xai.atlas_regression import Fit, fit
from xai.paths import PLANES, StudyError

__all__ = [
    "Anatomy", "Atlas", "Candidate", "Label", "NotLocalisable", "Place", "Region", "Templates", "anatomy_at",
    "load_atlas", "load_templates", "localise", "name_regions",
]  # fmt: skip

# Beyond these limits the network does not read an image as it reads heads. Of 2,537 real slices none has more than two thirds of the first, and
# 98.5 % are below the second, a product that was chosen among a dozen ways with other pictures in view (benchmarks/localisation.py).
NO_HEAD, STRANGENESS = 0.02, 1.85
LEAST_HEAD_LOG_ODDS = -1.7  # 99.5 % of the real slices are above it, which alone set it
MAXIMUM_CANDIDATES = 12
CANDIDATE_SPACING_MM = 2.0
# The spread that a slice's level has is not that of its likely places: thick, blurred slices of patients are placed with larger errors than those
# say, thin ones of healthy heads with smaller ones. Standard deviation (mm) = exp(w0) * spread^w1 * detail^w2; see benchmarks/interval_width.py.
WIDTH = (-3.11, 1.54, -1.27)


class NotLocalisable(StudyError):
    """The image shows no brain that could be placed in the template."""


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
        Nonzero pixels, such as a tumour, are left out of the comparison and hidden from the network.
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
    reading = None if method == "retrieval" else read(image, known)
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
    return _as_place(best, len(image), matching.detail(fine, reading.brain > 0.5) if method == "both" else None)


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


def _as_place(match: matching.Match, side: int, detail: float | None) -> Place:
    """The best pose of each few millimetres along the axis becomes a candidate; with `detail` they are moved apart, or together, along it to
    the spread that the slice's level was found to have in such slices (`WIDTH`), and the best one stays where it is."""
    _, first = np.unique(np.rint(match.poses[:, 0] / CANDIDATE_SPACING_MM), return_index=True)
    kept = np.sort(first)[:MAXIMUM_CANDIDATES]
    weights = np.exp((match.scores[kept] - match.scores[0]) / matching.TEMPERATURE)
    weights /= weights.sum()
    through = match.poses[kept, 0]
    # Centre of pixel (0, 0) is half a pixel inside the image.
    fraction = np.array([[1 / side, 0, 0.5 / side], [0, 1 / side, 0.5 / side], [0, 0, 1]])
    maps = matrices(match.poses[kept], match.plane) @ fraction
    own = spread(through, weights)
    if detail and own:
        stretch = np.exp(WIDTH[0]) * own ** (WIDTH[1] - 1) * detail ** WIDTH[2]
        # Not beyond the brain, but for the best one, which may be.
        low, high = (reach(bound, through[0]) for reach, bound in zip((min, max), RANGE_MM[match.plane]))
        apart = np.clip(through[0] + stretch * (through - through[0]), low, high) - through
        through, maps[:, AXIS[match.plane], 2] = through + apart, maps[:, AXIS[match.plane], 2] + apart
    candidates = tuple(Candidate(float(weight), matrix) for weight, matrix in zip(weights, maps))
    return Place(match.plane, float(through[0]), candidates, match.ncc, spread(through, weights), detail)
