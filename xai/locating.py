"""Chapter 5's work: place every explained slice in the brain, name what its mask covers, and hand over the findings."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal, NamedTuple
from datetime import datetime, timezone

import numpy as np
import pandas as pd
from skimage.measure import find_contours
from tqdm.auto import tqdm

import xai
from xai.atlas import NotLocalisable, Place, anatomy_at, load_atlas, load_templates, localise, name_regions
from xai.atlas_reference import VOXEL_MM
from xai.atlas_regions import AXIS, LABEL_THRESHOLD
from xai.atlas_validation import validate
from xai.data.dataset import Dataset
from xai.data.phantom import make_phantom
from xai.findings import Findings, shown, summarise_mask
from xai.metrics.overlap import dice
from xai.paths import LABELS, PLANES, Study
from xai.profiles import Profile

VALIDATION_SEED = 10_007  # added to the study's seed, so that validation heads are never those of the study
NOT_LOCALISED = {
    "hemisphere": "not determinable", "centroid_mni_mm": None, "centroid_sd_mm": None, "through_plane_sd_mm": None,
    "regions": [], "outside_atlas_probability": None, "lobe": None, "match_score": None,
}  # fmt: skip


def choose_explanation(study: Study, profile: Profile) -> tuple[str, str]:
    """The network and method whose findings are reported: the profile's, else the best on validation.

    Network: highest validation accuracy of its kept epoch, then validation Dice. Method: highest validation Dice of
    its masks. The test split has no say.
    """
    def kept_epoch(architecture: str) -> tuple[float, float]:
        history = pd.read_csv(study.need(study.history(architecture), f"02_training of {architecture}"))
        kept = history.loc[history["val_score"].idxmax()]
        return kept["val_accuracy"], kept["val_dice"]

    rules = pd.read_csv(study.need(study.table("threshold_rules"), "04_thresholding"))
    architecture = profile.atlas.architecture or max(profile.training.architectures, key=kept_epoch)
    own = rules[rules["architecture"] == architecture].set_index("method")
    return architecture, profile.atlas.method or str(own["dice"].idxmax())


def find_all(study: Study, profile: Profile, architecture: str, method: str) -> pd.DataFrame:
    """Write ``findings/<id>.json`` for every explained test slice.

    Returns
    -------
    DataFrame
        Table T6's source: id, label, plane, region, hemisphere, kind, probability, overlap, outside (of the atlas); slices
        without a named region have one row with an empty region.
    """
    dataset = Dataset(study)
    test = dataset.rows("test")
    rows = dataset.balanced_rows("test", profile.saliency.test_slices)
    positions = np.searchsorted(test, rows)
    masks = np.load(study.need(study.cam_masks(architecture, method), "04_thresholding"), mmap_mode="r")
    heads = np.load(study.test_masks(architecture), mmap_mode="r")
    predictions = pd.read_csv(study.predictions(architecture), dtype={"id": str})
    for old in study.findings("x").parent.glob("*.json"):
        old.unlink()  # of another network or split
    records = []
    for row, position in zip(tqdm(rows, desc="placing slices", unit="slice"), positions):
        entry, mask = dataset.index.iloc[row].to_dict(), np.asarray(masks[position]) > 0
        located = place(np.asarray(dataset.images[row]), mask, entry["plane"], convention=profile.atlas.convention)
        entry = entry | {"plane": located.plane}
        agreement = float(dice(mask[None], np.asarray(heads[position])[None] > 0.5)[0])
        probabilities = {label: float(predictions[f"prob_{label}"].iloc[position]) for label in LABELS}
        findings = make_findings(
            entry["id"], mask, probabilities, located, agreement=agreement, source=(architecture, method), study=study.name
        )
        findings.save(study.findings(findings.id))
        records += _region_rows(entry, located.anatomy)
    return pd.DataFrame(records)


class Located(NamedTuple):
    """Where one mask lies: a dict of `Anatomy`'s fields (an empty one without a match), quality flags, the plane, and the slice's place."""

    anatomy: dict
    flags: list[str]
    plane: str
    found: Place | None


def place(image: np.ndarray, mask: np.ndarray, plane: str, *, convention: Literal["radiological", "neurological"] | None) -> Located:
    """Anatomy of one mask; the plane is found where the source says "unknown"."""
    if not mask.any():
        return Located(dict(NOT_LOCALISED), ["empty mask"], plane, None)
    try:
        found = localise(image, plane=_known(plane), exclude=mask)
    except NotLocalisable:
        return Located(dict(NOT_LOCALISED), ["slice could not be placed in the brain"], plane, None)
    anatomy = name_regions(mask, found, convention=convention)
    flags = [] if anatomy.regions else ["no atlas region under the mask"]
    flags += [] if plane == found.plane else ["plane found by matching"]
    return Located(asdict(anatomy), flags, found.plane, found)


def _known(plane: str) -> str | None:
    return plane if plane in PLANES else None


def validate_on_phantom(profile: Profile) -> pd.DataFrame:
    """Localisation error on heads of known truth that are not in the study; table ``localisation.csv``."""
    per_subject = 3
    phantom = make_phantom(
        subjects=max(3, -(-profile.atlas.validation_cases // per_subject)), slices_per_subject=per_subject,
        image_size=profile.data.image_size, seed=profile.seed + VALIDATION_SEED,
    )  # fmt: skip
    cases = ((f"{item.patient}-{number}", item.image, item.mask, item.plane, item.mni) for number, item in enumerate(phantom))
    return validate(tqdm(cases, desc="validating", unit="slice", total=profile.atlas.validation_cases))


def brain_outlines() -> dict[str, list[np.ndarray]]:
    """The template brain's outline seen from three sides, for maps: view -> contours (P, 2), MNI mm across and along."""
    templates = load_templates()
    found = {}
    for view, axis in {"sagittal": 0, "coronal": 1, "axial": 2}.items():
        seen = np.pad(templates.brain.any(axis=axis), 1).astype(float)
        lower = np.delete(templates.lower_mm, axis)
        found[view] = [lower + (contour - 1) * VOXEL_MM for contour in find_contours(seen, 0.5)]
    return found


def regions_by_class(regions: pd.DataFrame) -> pd.DataFrame:
    """Table T6: for each true class the most frequent first region, and how often and how far the mask lies outside the atlas."""
    first = regions.sort_values("probability", ascending=False).groupby("id", sort=False).head(1)
    records = []
    for label in LABELS:
        part = first[first["label"] == label]
        names = part.loc[part["region"] != "", "region"].value_counts()
        records.append({
            "label": label, "slices": len(part), "most frequent region": names.index[0] if len(names) else "none",
            "its share, %": round(100 * names.iloc[0] / len(part), 1) if len(names) else np.nan,
            "no region named, %": round(100 * (part["region"] == "").mean(), 1) if len(part) else np.nan,
            "mean probability outside the atlas": round(part["outside"].mean(), 2),
        })  # fmt: skip
    return pd.DataFrame(records)


def error_table(errors: pd.DataFrame) -> pd.DataFrame:
    """Localisation error by plane: medians and 90th percentiles (mm), share of first and of top-three names that are right."""
    records = []
    for plane, part in errors.groupby("plane"):
        placed = part.dropna(subset="through_plane_mm")
        records.append({
            "plane": plane, "slices": len(part), "placed": len(placed),
            "through plane, median mm": placed["through_plane_mm"].median(), "90th percentile, mm": placed["through_plane_mm"].quantile(0.9),
            "in plane, median mm": placed["in_plane_mm"].median(), "in cortex or deep structure": int(placed["top1"].notna().sum()),
            "top1": placed["top1"].astype(float).mean(), "top3": placed["top3"].astype(float).mean(),
        })  # fmt: skip
    return pd.DataFrame(records)


def middle_case(study: Study, regions: pd.DataFrame) -> str:
    """Id of the slice in the middle by the probability of its first region, among slices with a named region: neither best nor worst."""
    named = regions[regions["region"] != ""].groupby("id")["probability"].max().sort_values(kind="stable")
    return str(named.index[len(named) // 2]) if len(named) else str(regions["id"].iloc[0])


def example_on_atlas(study: Study, profile: Profile, regions: pd.DataFrame, source: tuple[str, str]) -> dict:
    """What `xai.plots.plot_atlas` draws for the middle case: the slice, and template and labels resampled onto its pixels."""
    dataset = Dataset(study)
    row = int(np.flatnonzero((dataset.index["id"] == middle_case(study, regions)).to_numpy())[0])
    image, plane = np.asarray(dataset.images[row]), dataset.index["plane"].iloc[row]
    mask = np.load(study.cam_masks(*source), mmap_mode="r")[np.searchsorted(dataset.rows("test"), row)] > 0
    return on_atlas(image, mask, localise(image, plane=_known(plane), exclude=mask), convention=profile.atlas.convention)


def on_atlas(image: np.ndarray, mask: np.ndarray, found: Place, *, convention: Literal["radiological", "neurological"] | None) -> dict:
    """What `xai.plots.plot_atlas` draws of a slice that was placed."""
    pixels = np.column_stack([np.indices(image.shape).reshape(2, -1).T, np.ones(image.size)])
    points = pixels @ found.candidates[0].pixel_to_mni.T
    probabilities = anatomy_at(points)
    # Left and right of a region share a number: the figure names regions, the convention decides sides.
    names = [label.name for label in load_atlas().labels]
    numbers = np.unique(names, return_inverse=True)[1] + 1
    label_map = np.where(probabilities.max(axis=1) >= LABEL_THRESHOLD, numbers[probabilities.argmax(axis=1)], 0)
    anatomy = name_regions(mask, found, convention=convention)
    drawn = {int(numbers[names.index(region.name)]): region.name for region in anatomy.regions}
    axis = AXIS[found.plane]
    # Where each candidate puts the mask's centre: the slice may be tilted, so its own level says less.
    centre = np.append(np.argwhere(mask).mean(axis=0), 1.0)
    return {
        "image": image, "mask": mask, "template_image": load_templates().sample("signal", points).reshape(image.shape),
        "label_map": label_map.reshape(image.shape), "names": drawn,
        "positions_mm": np.array([(candidate.pixel_to_mni @ centre)[axis] for candidate in found.candidates]),
        "weights": np.array([candidate.weight for candidate in found.candidates]), "axis_name": "xyz"[axis],
    }  # fmt: skip


def example_findings(study: Study, regions: pd.DataFrame) -> str:
    """The JSON hand-over of the middle case, for reading."""
    return shown(study.findings(middle_case(study, regions)).read_text(encoding="utf-8"))


def make_findings(
    identifier: str, mask: np.ndarray, probabilities: dict[str, float], located: Located, *, agreement: float, source: tuple[str, str], study: str
) -> Findings:
    """The findings of one slice; `source` is network and method, `agreement` the Dice of mask and segmentation head."""
    label = max(probabilities, key=probabilities.get)
    flags = [*located.flags, "low class probability"] if probabilities[label] < 0.5 else located.flags
    return Findings.model_validate({
        "id": identifier, "plane": located.plane, "image_size": mask.shape[0],
        "model": source[0], "cam_method": source[1],
        "prediction": {"label": label, "probabilities": probabilities},
        "mask": summarise_mask(mask) | {"segmentation_agreement_dice": agreement},
        "anatomy": located.anatomy, "quality_flags": flags,
        "provenance": {"study": study, "xai_version": xai.__version__,
                       "created": datetime.now(timezone.utc).isoformat(timespec="seconds")},
    })  # fmt: skip


def _region_rows(entry, anatomy: dict) -> list[dict]:
    common = {"id": entry["id"], "label": entry["label"], "plane": entry["plane"]}
    outside = anatomy["outside_atlas_probability"]
    regions = anatomy["regions"] or [{"name": "", "hemisphere": "", "kind": "", "probability": 0.0, "overlap_percent": 0.0}]
    return [
        common | {"region": region["name"], "hemisphere": region["hemisphere"], "kind": region["kind"],
                  "probability": region["probability"], "overlap": region["overlap_percent"], "outside": outside}
        for region in regions
    ]  # fmt: skip
