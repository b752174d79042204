"""The JSON hand-off: everything a report may say about one slice, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from xai.paths import StudyError, write_text

SCHEMA_VERSION = "1.0"

Hemisphere = Literal["left", "right", "midline", "not determinable"]
Plane = Literal["axial", "coronal", "sagittal", "unknown"]  # unknown: not stated by the source, and no match found
Certainty = Literal["likely", "possible", "uncertain", "not available"]

# Names travel into prompts, grammars and HTML, so they are words on one line and can carry no instruction.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _,.'()+/-]*$", max_length=120)]
Flag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _,.;:%'()+/<>=-]*$", max_length=200)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=120)]
Probability = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
Length = Annotated[float, Field(ge=0)]
Millimetres = tuple[float, float, float]


def _plain(value: Any) -> Any:
    """Turn numpy scalars and arrays, however deep, into the plain values JSON knows."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _accept_numpy(cls, value: Any) -> Any:
        return _plain(value)


class Prediction(_Record):
    """The class the network chose, and its probability for each class."""

    label: Name
    probabilities: dict[Name, Probability]

    @model_validator(mode="after")
    def _consistent(self) -> Prediction:
        total = sum(self.probabilities.values())
        if self.label not in self.probabilities:
            raise ValueError(f"label {self.label!r} has no entry among the probabilities {list(self.probabilities)}")
        if abs(total - 1) > 0.01:
            raise ValueError(f"the probabilities sum to {total:.3f}, expected 1")
        return self


class MaskSummary(_Record):
    """Size and place of the saliency mask, in pixels of the slice.

    `bounding_box_pixels` is half-open, ``[first row, first column, last row + 1, last column + 1]``.
    An empty mask has neither centroid nor box.
    """

    area_percent: Percent
    area_pixels: Annotated[int, Field(ge=0)]
    centroid_pixels: tuple[float, float] | None = None
    bounding_box_pixels: tuple[int, int, int, int] | None = None
    segmentation_agreement_dice: Probability | None = None


class RegionFinding(_Record):
    """One Harvard-Oxford structure: mean atlas probability, and percent of the mask it labels best."""

    name: Name
    hemisphere: Hemisphere = "not determinable"
    probability: Probability
    overlap_percent: Percent
    kind: Name | None = None


class AnatomyFinding(_Record):
    """Where the mask lies in MNI152 space, and how far that can be trusted.

    `centroid_sd_mm` and `through_plane_sd_mm` are standard deviations over the candidate placements.
    """

    hemisphere: Hemisphere = "not determinable"
    centroid_mni_mm: Millimetres | None = None
    centroid_sd_mm: tuple[Length, Length, Length] | None = None
    through_plane_sd_mm: Length | None = None
    regions: tuple[RegionFinding, ...] = ()
    outside_atlas_probability: Probability | None = None
    lobe: Name | None = None
    match_score: float | None = None

    @property
    def certainty(self) -> Certainty:
        """How strongly a report may word the place.

        Harvard-Oxford gyri are 10-30 mm wide: a placement that scatters more than half of the narrowest
        (5 mm) cannot be "likely", one that scatters over a whole one (10 mm) not even "possible".
        """
        if not self.regions:
            return "not available"
        probability = max(region.probability for region in self.regions)
        spread = max(self.centroid_sd_mm or (0.0,))
        spread = max(spread, self.through_plane_sd_mm if self.through_plane_sd_mm is not None else float("inf"))
        if probability >= 0.5 and spread <= 5:
            return "likely"
        if probability >= 0.2 and spread <= 10:
            return "possible"
        return "uncertain"


class Provenance(_Record):
    """Which study made the finding, when (ISO 8601), with which version of this package."""

    study: str
    created: str
    xai_version: str


class Findings(_Record):
    """All that stages one and two found on one slice.

    Attributes
    ----------
    image_size : int
        Rows = columns of the slice, in pixels.
    model, cam_method : str
        Keys of the architecture and of the saliency method.
    modality : str
        What was imaged; all data of this study are post-contrast T1.
    """

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    id: Identifier
    plane: Plane
    image_size: Annotated[int, Field(gt=0)]
    modality: Name = "contrast-enhanced T1-weighted MRI"
    model: Name
    cam_method: Name
    prediction: Prediction
    mask: MaskSummary
    anatomy: AnatomyFinding
    quality_flags: tuple[Flag, ...] = ()
    provenance: Provenance

    @classmethod
    def load(cls, path: Path | str) -> Findings:
        """Read one findings file.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        StudyError
            If it is not JSON, is of another schema version, or breaks the schema; one sentence each.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; chapter 05_atlas writes the findings.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise StudyError(f"{path} is not valid JSON ({error}); delete it and run chapter 05_atlas again.") from None
        if not isinstance(content, dict):
            raise StudyError(f"{path} holds a {type(content).__name__}, expected one JSON object of findings.")
        version = content.get("schema_version")
        if version != SCHEMA_VERSION:
            raise StudyError(
                f"{path} has schema_version {version!r}, this package reads {SCHEMA_VERSION!r}; "
                "run chapter 05_atlas again to write it anew."
            )
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise StudyError(f"{path} breaks the findings schema: {_first_error(error)}.") from None

    def save(self, path: Path | str) -> None:
        """Write the findings as indented JSON, whole or not at all."""
        write_text(path, self.model_dump_json(indent=2) + "\n")


def shown(text: str) -> str:
    """Findings as JSON for a reader: numbers to four digits; the file holds them whole."""
    return json.dumps(json.loads(text, parse_float=lambda digits: float(f"{float(digits):.4g}")), indent=1, ensure_ascii=False)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `Findings`, as published with the book."""
    return Findings.model_json_schema()


def summarise_mask(mask: np.ndarray) -> dict[str, Any]:
    """Area, centroid and bounding box of a binary mask.

    Parameters
    ----------
    mask : ndarray, shape (rows, columns)
        Anything non-zero counts as inside.

    Returns
    -------
    dict
        The geometric fields of `MaskSummary`; centroid and box are None for an empty mask.
        The centroid is the mean pixel index, so the centre of pixel (0, 0) is [0, 0].

    Raises
    ------
    ValueError
        If the mask is not two-dimensional or has no pixels.
    """
    inside = np.asarray(mask) != 0
    if inside.ndim != 2 or inside.size == 0:
        raise ValueError(f"mask has shape {inside.shape}, expected two non-empty dimensions (rows, columns).")
    rows, columns = np.nonzero(inside)
    summary: dict[str, Any] = {
        "area_percent": 100.0 * rows.size / inside.size,
        "area_pixels": int(rows.size),
        "centroid_pixels": None,
        "bounding_box_pixels": None,
    }
    if rows.size:
        summary["centroid_pixels"] = [float(rows.mean()), float(columns.mean())]
        summary["bounding_box_pixels"] = [
            int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1,
        ]
    return summary


def _first_error(error: ValidationError) -> str:
    """The first broken field in words, and how many more there are."""
    details = error.errors(include_url=False)
    place = ".".join(str(part) for part in details[0]["loc"]) or "file"
    message = details[0]["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    found = details[0]["input"]
    shown = f", found {found!r:.80}" if not isinstance(found, dict | list) else ""
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return f"{place}: {message}{shown}{more}"
