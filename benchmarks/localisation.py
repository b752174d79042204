"""How far off are places, by method? On real slices the anchor is the sella; on slices of a head, its own coordinates.

    python benchmarks/localisation.py --root /path/to/slices        # index.csv: image, mask, label, plane, patient
    python benchmarks/localisation.py --head /path/to/head.nii.gz   # a whole head in MNI152 millimetres

Real slices have no truth, but pituitary tumours sit at the sella. One slice of each patient and plane is placed, its tumour left out; counted
is the distance between the tumour's centre and the sella, read off the template at x 0, y 5, z -30 mm. Settings were chosen on the patients
called "chosen on"; "held out" are the others. With --to the table is kept as CSV, with where it comes from beside it.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from datetime import date
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pandas as pd
from tqdm import tqdm

from xai.atlas import NotLocalisable, Place, localise, positions
from xai.atlas_heads import as_head
from xai.atlas_synthesis import draw_slices
from xai.atlas_validation import naive_place
from xai.paths import PLANES, atomic, write_text
from xai.reference import commit, device

SELLA_MM = np.array([0.0, 5.0, -30.0])
METHODS = ("naive", "retrieval", "regression", "both")


def placed(image: np.ndarray, plane: str, mask: np.ndarray | None, method: str) -> Place | None:
    """The place that a method finds, or None where it abstains."""
    if method == "naive":
        return naive_place(image.shape, plane)
    try:
        return localise(image, plane=plane, exclude=mask, method=method)
    except NotLocalisable:
        return None


def anchor(root: Path, slices: int) -> pd.DataFrame:
    """Distance of pituitary tumours to the sella: one row for each slice and method; mm, missing where the method abstains."""
    index = pd.read_csv(root / "index.csv", dtype=str)
    index = index[index["label"] == "pituitary"].sample(frac=1, random_state=0).drop_duplicates(["plane", "patient"])
    rows = []
    for item in tqdm(index.groupby("plane").head(slices).itertuples(), total=3 * slices, unit="slice"):
        image, mask = (cv2.imread(str(root / path), cv2.IMREAD_GRAYSCALE) for path in (item.image, item.mask))
        half = ("chosen on", "held out")[zlib.crc32(item.patient.encode()) % 2]
        for method in METHODS:
            start = time.process_time()
            place = placed(image.astype(np.float32), item.plane, mask, method)
            row = {"patients": half, "plane": item.plane, "method": method, "seconds": time.process_time() - start}
            rows.append(row | ({"mm": np.nan} if place is None else _from_sella(mask, place)))
    return pd.DataFrame(rows)


def _from_sella(mask: np.ndarray, place: Place) -> dict:
    """Distance at the best candidate."""
    centre = positions(np.argwhere(mask), place)[0][0].mean(axis=0)
    if place.plane == "sagittal":  # its side is not known
        centre[0] = abs(centre[0])
    return {"mm": float(np.linalg.norm(centre - SELLA_MM))}


def known_head(path: Path, slices: int, seed: int) -> pd.DataFrame:
    """Errors in the brain of random slices of a head, warped, tilted, with lesions: mean distance through and in the plane, mm."""
    drawn = draw_slices([as_head(nibabel.load(path))], slices, seed)
    cells = (np.arange(drawn.brain.shape[1]) + 0.5) * drawn.pictures.shape[1] / drawn.brain.shape[1] - 0.5
    pixels = np.stack(np.meshgrid(cells, cells, indexing="ij"), axis=-1)
    rows = []
    for picture, mni, brain, number in zip(tqdm(drawn.pictures, unit="slice"), drawn.mni, drawn.brain, drawn.plane):
        inside = brain > 0.5
        if number < 0 or inside.sum() < 12:
            continue
        plane, truth = PLANES[number], mni[inside]
        axis = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
        for method in METHODS:
            place = placed(picture, plane, None, method)
            row = {"patients": "one head", "plane": plane, "method": method}
            if place is not None:
                found = positions(pixels[inside], place)[0][0]
                error = np.abs(found - truth)
                row |= {"mm": error[:, axis].mean(), "in_plane_mm": np.linalg.norm(np.delete(error, axis, 1), axis=1).mean()}
            rows.append({"mm": np.nan} | row)
    return pd.DataFrame(rows)


def summary(errors: pd.DataFrame) -> pd.DataFrame:
    """Median and 90th percentile of the errors by patients, plane and method, and how many slices were not placed."""
    records = []
    if errors["patients"].nunique() > 1:
        errors = pd.concat([errors, errors.assign(patients="all")])
    for keys, part in errors.groupby(["patients", "plane", "method"], sort=False):
        record = dict(zip(("patients", "plane", "method"), keys)) | {"slices": len(part), "not placed": int(part["mm"].isna().sum())}
        record |= {"median, mm": round(part["mm"].median(), 1), "90th percentile, mm": round(part["mm"].quantile(0.9), 1)}
        if "in_plane_mm" in part:
            record["in plane, median mm"] = round(part["in_plane_mm"].median(), 1)
        records.append(record)
    return pd.DataFrame(records).sort_values(["patients", "plane"], kind="stable", ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--root", type=Path, help="folder with index.csv and real slices")
    source.add_argument("--head", type=Path, help="a head in MNI152 millimetres, NIfTI")
    parser.add_argument("--slices", type=int, default=40, help="slices of each plane, or of the head")
    parser.add_argument("--seed", type=int, default=11, help="of the head's slices")
    parser.add_argument("--to", type=Path, help="CSV file for the table, such as results/localisation/anchor.csv")
    options = parser.parse_args()
    errors = anchor(options.root, options.slices) if options.root else known_head(options.head, options.slices, options.seed)
    table = summary(errors)
    print(table.to_string(index=False))
    if options.root:
        print(errors.groupby("method")["seconds"].median().round(3).rename("processor seconds a slice, median").to_string())
    if options.to:
        with atomic(options.to) as temporary:
            table.to_csv(temporary, index=False)
        record = {"date": date.today().isoformat(), "commit": commit(), "device": device(), "slices": options.slices}
        write_text(options.to.with_suffix(".json"), json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
