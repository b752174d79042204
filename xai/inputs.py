"""Any file a user may bring -> grey slices that stand as the networks learned them; each refusal is one sentence."""

from __future__ import annotations

import re
import textwrap
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterable, Sequence

import cv2
import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from xai.paths import StudyError

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")
NIFTI = (".nii", ".nii.gz")
DICOM = (".dcm", ".ima", ".dicom")
SMALLEST_SIDE = 32  # pixels; below it nothing in a head can be told apart
LARGEST_SIDE = 8192
MOST_VALUES = 2**28  # pixels of all slices of one file, decoded
MOST_FRAMES = 4096
FORMATS = "a PNG, JPEG, TIFF, NIfTI or DICOM file"
# Direction in which columns and rows run in an upright slice, in the patient axes of DICOM (0 left, 1 back, 2 up).
UPRIGHT = {"axial": ((0, 1), (1, 1)), "coronal": ((0, 1), (2, -1)), "sagittal": ((1, 1), (2, -1))}
NORMAL = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class Scan:
    """What one file holds.

    Attributes
    ----------
    path : Path
    values : array (N, H, W)
        Its slices, numbered as in the file; any scale.
    plane : str or None
        Where the header says it.
    sides_known : bool
        Whether the header says left and right; slices then stand in radiological convention.
    notes : tuple of str
        What a reader should know about how it was read.
    """

    path: Path
    values: np.ndarray
    plane: str | None = None
    sides_known: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def grey(self, number: int) -> np.ndarray:
        """One slice as uint8 (H, W), scaled by its own range as the figshare slices are; eight bits stay as they are."""
        values = self.values[number]
        return values if values.dtype == np.uint8 else to_grey(values)

    def signal(self) -> np.ndarray:
        """How bright each slice is against the brightest, (N,): scaled by its own range, one of noise alone looks like one of tissue."""
        levels = np.array([np.percentile(values, 99) for values in self.values], float)
        return levels / (levels.max() if levels.max() > 0 else 1.0)


def to_grey(values: np.ndarray) -> np.ndarray:
    """Numbers of any scale -> uint8 by their own range; what is not finite becomes the lowest."""
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 0.0)
    scaled = (np.where(finite, values, low) - low) * 255 / ((high - low) or 1)
    return np.clip(scaled.round(), 0, 255).astype(np.uint8)


def gather(paths: Iterable[Path | str]) -> tuple[list[Path], list[Path]]:
    """Files to read, and what lies in the given folders and is passed over because of its name.

    A folder stands for the files in it, in order of their names, without hidden files and without its own folders; a file that is named
    itself is always read.

    Raises
    ------
    StudyError
        A path does not exist, or a folder holds nothing to read.
    """
    files, passed = [], []
    for path in map(Path, paths):
        if not path.exists():
            raise StudyError(f"{path} does not exist; give {FORMATS}, or a folder of them.")
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
        wanted = [entry for entry in inside if kind_of(entry) is not None]
        if not wanted:
            raise StudyError(f"Folder {path} holds no slice; expected PNG, JPEG, TIFF, NIfTI or DICOM files directly in it.")
        files += wanted
        passed += [entry for entry in inside if entry not in wanted]
    return list(dict.fromkeys(files)), passed


def kind_of(path: Path) -> str | None:
    """"picture", "nifti" or "dicom", by name; by its first bytes a DICOM file needs no name. None for anything else."""
    name = path.name.lower()
    for kind, endings in (("nifti", NIFTI), ("dicom", DICOM), ("picture", PICTURES)):
        if name.endswith(endings):
            return kind
    return "dicom" if _first_bytes(path)[128:132] == b"DICM" else None


def read_scan(path: Path | str, *, plane: str | None = None) -> Scan:
    """Read one file.

    Parameters
    ----------
    plane : {"axial", "coronal", "sagittal"}, optional
        Along which a NIfTI volume is cut (default: as it was acquired, across its thickest voxels), or what a picture shows.

    Raises
    ------
    StudyError
        One sentence on what is wrong with the file. Sizes are checked before anything is decoded.
    """
    from xai.scans import read_dicom, read_nifti

    path = Path(path)
    start = _first_bytes(path)
    if not start:
        raise StudyError(f"{path} is empty; expected {FORMATS}.")
    if start.startswith(b"PK\x03\x04"):
        raise StudyError(f"{path} is a zip archive; unpack it, with its password where it has one, and give the files in it.")
    kind = kind_of(path)
    if start[128:132] == b"DICM" and kind != "dicom":
        raise StudyError(f"{path} is a DICOM file by another name; rename it to end in .dcm.")
    if kind == "nifti":
        return read_nifti(path, plane)
    if kind == "dicom":
        scan = read_dicom(path)
        return scan if scan.plane else replace(scan, plane=plane)
    return replace(_read_picture(path), plane=plane)


def check_size(path: Path, height: int, width: int, count: int = 1) -> None:
    """Refuse what is too small to show a head or too large to decode."""
    if max(height, width) > LARGEST_SIDE or height * width * count > MOST_VALUES or count > MOST_FRAMES:
        slices = f"{count} slices of " if count > 1 else ""
        raise StudyError(
            f"{path} holds {slices}{width} x {height} pixels, expected at most {LARGEST_SIDE} a side and "
            f"{MOST_VALUES // 2**20} million in all; reduce it first."
        )
    if min(height, width) < SMALLEST_SIDE:
        raise StudyError(f"{path} is {width} x {height} pixels, expected a slice of at least {SMALLEST_SIDE} pixels a side.")


def upright(
    values: np.ndarray, row_step: Sequence[float], column_step: Sequence[float], spacing: tuple[float, float]
) -> tuple[np.ndarray, str]:
    """Slices turned as the study's data show them, with square pixels; and their plane.

    Front or top up; the patient's right on the left side (radiological); in sagittal slices the nose to the left.

    Parameters
    ----------
    values : array (N, H, W)
    row_step, column_step : (3,)
        Patient direction, in DICOM's axes, of one step to the next row and to the next column.
    spacing : (float, float)
        Millimetres of these steps.
    """
    row_step, column_step, spacing = np.asarray(row_step, float), np.asarray(column_step, float), list(spacing)
    plane = NORMAL[int(np.argmax(np.abs(np.cross(row_step, column_step))))]
    (column_axis, column_sign), (row_axis, row_sign) = UPRIGHT[plane]
    if abs(row_step[row_axis]) < abs(column_step[row_axis]):
        values, row_step, column_step, spacing = values.swapaxes(1, 2), column_step, row_step, spacing[::-1]
    rows, columns = (slice(None, None, -1 if step[axis] * sign < 0 else 1)
                     for step, axis, sign in ((row_step, row_axis, row_sign), (column_step, column_axis, column_sign)))  # fmt: skip
    return _square_pixels(values[:, rows, columns], spacing), plane


def _square_pixels(values: np.ndarray, spacing: list[float]) -> np.ndarray:
    """Resampled where rows and columns are not equally far apart; a head must not be squashed."""
    if min(spacing) <= 0 or max(spacing) / min(spacing) < 1.02:
        return values
    height, width = (max(1, round(size * step / min(spacing))) for size, step in zip(values.shape[1:], spacing))
    if max(height, width) > LARGEST_SIDE:
        return values
    return np.stack([cv2.resize(np.asarray(one, np.float32), (width, height), interpolation=cv2.INTER_LINEAR) for one in values])


def safe_name(path: Path) -> str:
    """A file's name as a name of results: letters, digits, dot, dash and underscore."""
    name = path.name
    for ending in (*NIFTI[::-1], *DICOM, *PICTURES):
        name = name[: -len(ending)] if name.lower().endswith(ending) else name
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:80] or "slice"


def _first_bytes(path: Path) -> bytes:
    if path.exists() and not path.is_file() and not path.is_dir():
        raise StudyError(f"{path} is no ordinary file; give {FORMATS}.")  # a pipe would wait for a writer for ever
    try:
        with path.open("rb") as file:
            return file.read(132)
    except OSError as error:
        raise StudyError(f"{path} cannot be read ({error.strerror or type(error).__name__}); give {FORMATS}.") from error


def _read_picture(path: Path) -> Scan:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `check_size` refuses long before
            with Image.open(path) as picture:
                count = getattr(picture, "n_frames", 1)
                check_size(path, picture.height, picture.width, count)
                frames, notes = zip(*[_grey_frame(frame) for frame in ImageSequence.Iterator(picture)])
    except Image.DecompressionBombError as error:
        raise StudyError(f"{path} is larger than {LARGEST_SIDE} pixels a side; reduce it first.") from error
    except UnidentifiedImageError as error:
        raise StudyError(f"{path} is no picture, whatever its name says; expected {FORMATS}.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, StudyError):
            raise
        raise StudyError(f"{path} is damaged or cut short ({words_of(error)}); replace it.") from error
    if len({frame.shape for frame in frames}) > 1:
        raise StudyError(f"{path} holds pictures of different sizes; save the slice you mean as a file of its own.")
    return Scan(path, np.stack(frames), notes=tuple(dict.fromkeys(note for some in notes for note in some)))


def _grey_frame(picture: Image.Image) -> tuple[np.ndarray, list[str]]:
    """Grey values (H, W), uint8 or wider, and notes."""
    picture.load()  # turns a TIFF by itself
    picture = ImageOps.exif_transpose(picture)  # photographs may be stored lying on their side
    if picture.mode.startswith(("I", "F")):
        return np.array(picture, dtype=np.float32), ["more than eight bits, scaled by the slice's own range"]
    if picture.mode == "1" or picture.mode == "L":
        return np.array(picture.convert("L")), []
    if "A" in picture.getbands() or "transparency" in picture.info:
        colours = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", colours.size, "black"), colours)  # what is not there is air
    rgb = np.array(picture.convert("RGB"))
    coloured = float((np.ptp(rgb, axis=2) > 24).mean()) > 0.01
    return np.array(picture.convert("L")), ["colours turned to grey"] if coloured else []


def words_of(error: Exception) -> str:
    """The first sentence of a library's message, on one line; what follows is advice to programmers."""
    text = " ".join(str(error).split()) or type(error).__name__
    return textwrap.shorten(re.split(r"[.!?]+(?:\s|$)| - ", text)[0], 120, placeholder=" …")
