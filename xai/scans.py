"""NIfTI and DICOM files -> upright slices: headers are believed where they speak, and sizes are checked before decoding."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from xai.inputs import NORMAL, Scan, check_size, upright, words_of
from xai.paths import StudyError

ISOTROPIC = 1.2  # ratio of the thickest to the thinnest voxel side up to which a volume was not acquired in one plane


def read_nifti(path: Path, plane: str | None) -> Scan:
    """Slices of a NIfTI volume across its thickest voxels, or along `plane`; numbered by the file's own voxel index.

    Raises
    ------
    StudyError
        Not NIfTI, cut short, coloured, of more than three dimensions, or too large.
    """
    import nibabel

    try:
        volume = nibabel.load(path)
        shape = tuple(size for size in volume.shape[3:] if size != 1)
        if shape or len(volume.shape) < 2:
            raise StudyError(f"{path} has the shape {' x '.join(map(str, volume.shape))}, expected three dimensions; save one volume of it.")
        if volume.get_data_dtype().fields:
            raise StudyError(f"{path} holds colours, expected one grey value a voxel; save the original series.")
        shape = (*volume.shape, 1)[:3]
        affine = np.asarray(volume.affine, float)
        placed = volume.header["sform_code"] > 0 or volume.header["qform_code"] > 0
        # Patient axes of NIfTI point right, front, up; those of DICOM left, back, up.
        steps = affine[:3, :3].T * (-1, -1, 1)
        spacing = np.linalg.norm(steps, axis=1)
        steps = steps / np.where(spacing > 0, spacing, 1)[:, None]
        if not np.isfinite(steps).all() or not np.abs(np.linalg.det(steps)) > 0.1:
            placed, steps, spacing = False, np.diag([-1.0, -1.0, 1.0]), np.ones(3)
        through = _through(steps, spacing, shape, plane)
        rows, columns = (axis for axis in range(3) if axis != through)
        check_size(path, shape[rows], shape[columns], shape[through])
        values = np.asarray(volume.dataobj, dtype=np.float32).reshape(shape)
    except StudyError:
        raise
    except Exception as error:  # on damaged files nibabel, gzip and zlib raise a dozen kinds
        raise StudyError(f"{path} is no readable NIfTI volume ({words_of(error)}); replace it.") from error
    values = np.nan_to_num(np.moveaxis(values, through, 0), posinf=0.0, neginf=0.0)
    turned, found = upright(values, steps[rows], steps[columns], (spacing[rows], spacing[columns]))
    notes = () if placed else ("the header does not say how the volume lies; taken as stored, left and right unknown",)
    return Scan(path, turned, found, placed, notes)


def _through(steps: np.ndarray, spacing: np.ndarray, shape: tuple[int, ...], plane: str | None) -> int:
    """Which voxel axis runs through the slices."""
    if plane is not None or (1 not in shape and spacing.max() / spacing.min() < ISOTROPIC):
        return int(np.argmax(np.abs(steps[:, NORMAL.index(plane or "axial")])))
    return shape.index(1) if 1 in shape else int(np.argmax(spacing))


def read_dicom(path: Path) -> Scan:
    """The frames of a DICOM file; nothing of its header but geometry, modality and scaling is read.

    Raises
    ------
    StudyError
        Not DICOM, without pixels, cut short, compressed by a method that is not installed, or too large.
    """
    import pydicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, stop_before_pixels=True)
            if "Rows" not in header or "Columns" not in header:
                raise StudyError(f"{path} is a DICOM file without pixels; give the image series of the study.")
            count = int(header.get("NumberOfFrames") or 1)
            check_size(path, int(header.Rows), int(header.Columns), count)
            dataset = pydicom.dcmread(path)
            if "PixelData" not in dataset:
                raise StudyError(f"{path} is a DICOM file without pixels; give the image series of the study.")
            values = _pixels(dataset, count)
    except StudyError:
        raise
    except Exception as error:  # on damaged files pydicom raises a dozen kinds
        raise StudyError(f"{path} is no readable DICOM image ({words_of(error)}); replace it, or save it uncompressed.") from error
    modality = str(header.get("Modality", "MR"))[:8]
    notes = [] if modality == "MR" else [f"the header names the modality {''.join(filter(str.isalnum, modality)) or 'unknown'}, not MR"]
    placed = _geometry(header)
    if placed is None:
        return Scan(path, values, notes=(*notes, "the header does not say how the slice lies"))
    column_step, row_step, spacing = placed
    turned, plane = upright(values, row_step, column_step, spacing)
    return Scan(path, turned, plane, True, tuple(notes))


def _pixels(dataset, count: int) -> np.ndarray:
    """Grey values float32 (frames, H, W), bright on dark."""
    from pydicom.pixels import apply_modality_lut, convert_color_space

    values = dataset.pixel_array
    if int(dataset.get("SamplesPerPixel", 1)) > 1:
        if str(dataset.PhotometricInterpretation).startswith("YBR"):
            values = convert_color_space(values, dataset.PhotometricInterpretation, "RGB")
        values = np.asarray(values, np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    else:
        values = np.asarray(apply_modality_lut(values, dataset), np.float32)
    values = values.reshape(count, *values.shape[-2:])
    return values.max() - values if dataset.get("PhotometricInterpretation") == "MONOCHROME1" else values


def _geometry(header) -> tuple[np.ndarray, np.ndarray, tuple[float, float]] | None:
    """Steps of columns and rows in patient axes, and their spacing (rows, columns) in millimetres; of enhanced files those shared by all frames."""
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    orientation, spacing = header.get("ImageOrientationPatient"), header.get("PixelSpacing")
    if shared is not None:
        orientation = orientation or _first(shared, "PlaneOrientationSequence", "ImageOrientationPatient")
        spacing = spacing or _first(shared, "PixelMeasuresSequence", "PixelSpacing")
    try:
        steps = np.array(orientation, float).reshape(2, 3)
        distances = tuple(float(value) for value in spacing) if spacing else (1.0, 1.0)
    except (TypeError, ValueError):
        return None
    if not np.isfinite(steps).all() or np.linalg.norm(np.cross(*steps)) < 0.9 or len(distances) != 2:
        return None
    return steps[0], steps[1], distances


def _first(group, sequence: str, name: str):
    items = group.get(sequence)
    return items[0].get(name) if items else None
