"""How far off are places, by method? On real slices the anchor is the sella; on slices of volumes, their own coordinates.

    python benchmarks/localisation.py --root /path/to/slices        # index.csv: image, mask, label, plane, patient
    python benchmarks/localisation.py --volumes NN_t1post.nii.gz ... --head ch2.nii.gz --packages /path/to/unpacked/packages

Real slices have no truth, but pituitary tumours sit at the sella. One slice of each patient and plane is placed, its tumour left out; counted
is the distance between the tumour's centre and the sella, read off the template at x 0, y 5, z -30 mm. Settings were chosen on the patients
called "chosen on"; "held out" are the others.

Volumes are registered to MNI152 first (SimpleITK; kept beside them, look at the result), so that every pixel's place is known: patients' slices
as acquired (their headers must hold the true spacing), their tumour left out, and slices of a head never trained on, warped anew for each, tilted, with a tumour. Their truth is as good
as the registration: a few millimetres for an affine one of thick slices. With --to the tables are kept as CSV, with where they come from.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from datetime import date
from pathlib import Path
from typing import Iterable, Iterator

import cv2
import nibabel
import numpy as np
import pandas as pd
from tqdm import tqdm

from xai.atlas import NotLocalisable, Place, localise, positions
from xai.atlas_heads import REFERENCE, REFERENCE_MASK, acquired_slices, aligned, as_head, displacement, find
from xai.atlas_synthesis import KnownSlice, warped_slices
from xai.atlas_validation import errors_at, naive_place, regions_at
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


def unseen(slices: Iterable[KnownSlice], heads: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Errors on slices whose place is known, a row for each slice and method; and what is named at their points of cortex."""
    rows, named = [], []
    for item in tqdm(slices, unit="slice"):
        mask = item.mask if item.mask is not None and item.mask.any() else None
        for method in METHODS:
            place = placed(item.picture, item.plane, mask, method)
            key = {"heads": heads, "plane": item.plane, "method": method}
            rows.append(key | errors_at(place, item.plane, item.pixels, item.mni))
            named.append(regions_at(place, item.plane, item.pixels, item.mni).assign(**key))
    return pd.DataFrame(rows), pd.concat(named, ignore_index=True)


def unseen_summary(errors: pd.DataFrame, named: pd.DataFrame) -> pd.DataFrame:
    """By heads, plane and method. A point of a slice that was not placed counts as named wrongly: there is no abstaining here."""
    records = []
    pooled = [table.assign(heads="patients, all")[table["heads"].str.startswith("patients")] for table in (errors, named)]
    errors, named = (pd.concat([whole, table], ignore_index=True) for whole, table in zip(pooled, (errors, named)))
    for keys, part in errors.groupby(["heads", "plane", "method"], sort=False):
        points = named[(named[["heads", "plane", "method"]] == keys).all(axis=1)]
        records.append(dict(zip(("heads", "plane", "method"), keys)) | {
            "slices": len(part), "not placed": int(part["through_plane_mm"].isna().sum()),
            "through plane, median mm": round(part["through_plane_mm"].median(), 1),
            "90th percentile, mm": round(part["through_plane_mm"].quantile(0.9), 1),
            "in plane, median mm": round(part["in_plane_mm"].median(), 1),
            "points of cortex": len(points), "top1": round((points["rank"] <= 1).mean(), 3), "top3": round((points["rank"] <= 3).mean(), 3),
            "side right": round(part["side_right"].mean(), 3), "90 % interval holds the level": round(part["covered"].mean(), 2),
        })  # fmt: skip
    return pd.DataFrame(records)


def regions(named: pd.DataFrame) -> pd.DataFrame:
    """By heads and true region, sides together, as placed by both: points, how often named first or among three, and what is named instead."""
    own = named[named["method"] == "both"].copy()
    own["heads"] = own["heads"].str.partition(",")[0]  # all patients together
    for column in ("region", "named"):
        own[column] = own[column].str.replace(r" \((left|right)\)$", "", regex=True)
    records = []
    for keys, part in own.groupby(["heads", "region"]):
        wrong = part.loc[part["rank"].gt(1) & part["named"].ne(part["region"]), "named"].value_counts()
        records.append(dict(zip(("heads", "region"), keys)) | {
            "points": len(part), "top1": round((part["rank"] <= 1).mean(), 3), "top3": round((part["rank"] <= 3).mean(), 3),
            "most often instead": wrong.index[0] if len(wrong) else "", "its share": round(wrong.iloc[0] / len(part), 3) if len(wrong) else 0.0,
        })  # fmt: skip
    return pd.DataFrame(records)


def summary(errors: pd.DataFrame) -> pd.DataFrame:
    """Median and 90th percentile of the errors by patients, plane and method, and how many slices were not placed."""
    records = []
    errors = pd.concat([errors, errors.assign(patients="all")])
    for keys, part in errors.groupby(["patients", "plane", "method"], sort=False):
        record = dict(zip(("patients", "plane", "method"), keys)) | {"slices": len(part), "not placed": int(part["mm"].isna().sum())}
        record |= {"median, mm": round(part["mm"].median(), 1), "90th percentile, mm": round(part["mm"].quantile(0.9), 1)}
        records.append(record)
    return pd.DataFrame(records).sort_values(["patients", "plane"], kind="stable", ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder with index.csv and real slices: the anchor")
    parser.add_argument("--volumes", type=Path, nargs="+", default=[], help="patients' volumes of axial slices, NIfTI; a tumour's mask beside each")
    parser.add_argument("--chosen-on", nargs="*", default=[], help="names of those volumes on which the width of intervals was chosen")
    parser.add_argument("--head", type=Path, help="a whole head of a subject never trained on, such as ch2.nii.gz")
    parser.add_argument("--packages", type=Path, help="folder with the unpacked packages that xai.atlas_heads names, to register to")
    parser.add_argument("--slices", type=int, default=40, help="real slices of each plane")
    parser.add_argument("--head-slices", type=int, default=180, help="slices drawn from the head")
    parser.add_argument("--seed", type=int, default=11, help="of the head's slices")
    parser.add_argument("--to", type=Path, help="folder for the tables, such as results/localisation")
    options = parser.parse_args()
    if not (options.root or options.volumes or options.head):
        parser.error("nothing to measure: give --root, --volumes or --head")
    if (options.volumes or options.head) and not options.packages:
        parser.error("--volumes and --head need --packages, whose templates they are registered to")
    tables = {}
    if options.root:
        errors = anchor(options.root, options.slices)
        tables["anchor"] = summary(errors)
        print(tables["anchor"].to_string(index=False))
        print(errors.groupby("method")["seconds"].median().round(3).rename("processor seconds a slice, median").to_string())
    if options.volumes or options.head:
        measured = [
            unseen(acquired(path, options.packages), f"patients, {'chosen on' if path.name in options.chosen_on else 'held out'}") for path in options.volumes
        ]
        if options.head:
            measured.append(unseen(drawn(options.head, options.packages, options.head_slices, options.seed), options.head.name.partition(".")[0]))
        errors, named = (pd.concat(parts, ignore_index=True) for parts in zip(*measured))
        tables |= {"localisation": unseen_summary(errors, named), "regions": regions(named)}
        print(tables["localisation"].to_string(index=False))
    for name, table in tables.items() if options.to else ():
        with atomic(options.to / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
        record = {"date": date.today().isoformat(), "commit": commit(), "device": device()}
        record |= {"slices": options.slices} if name == "anchor" else {
            "volumes": [path.name for path in options.volumes], "chosen_on": options.chosen_on,
            "head": options.head and options.head.name, "head_slices": options.head_slices, "seed": options.seed,
        }  # fmt: skip
        write_text(options.to / f"{name}.json", json.dumps(record, indent=1))


def acquired(path: Path, packages: Path) -> Iterator[KnownSlice]:
    """Slices of a patient's volume; ``<name>_tumour.nii.gz`` beside ``<name>_t1post.nii.gz`` is left out of the comparison."""
    tumour = path.with_name(path.name.replace("_t1post", "_tumour"))
    mask = nibabel.load(tumour) if tumour != path and tumour.exists() else None
    return acquired_slices(aligned(path, find(packages, REFERENCE)), mask)


def drawn(path: Path, packages: Path, slices: int, seed: int) -> Iterator[KnownSlice]:
    """Slices of a registered head, warped."""
    field = displacement(path, find(packages, REFERENCE), find(packages, REFERENCE_MASK))
    return warped_slices(as_head(nibabel.load(path), path.name, field, beyond="constant"), slices, seed)


if __name__ == "__main__":
    main()
