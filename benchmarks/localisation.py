"""How far off are places, by method? On real slices the anchor is the sella; on slices of volumes, their own coordinates.

    python benchmarks/localisation.py --root /path/to/slices        # index.csv: image, mask, label, plane, patient
    python benchmarks/localisation.py --volumes NN_t1post.nii.gz ... --head ch2.nii.gz --packages /path/to/unpacked/packages

Real slices have no truth, but pituitary tumours sit at the sella. One slice of each patient and plane is placed, its tumour left out; counted
is the distance between the tumour's centre and the sella, read off the template at x 0, y 5, z -30 mm. Settings were chosen on the patients
called "chosen on"; "held out" are the others. Beside it, for every slice: which plane the network reads without being told; and of 200 pictures
that show no head, how many are placed all the same; and of all slices, how many are refused, in how much time and memory.

Volumes are registered to MNI152 first (SimpleITK, ANTs; kept beside them, look at the result), so that every pixel's place is known: patients' slices
as acquired (their headers must hold the true spacing), their tumour left out, and slices of a head never trained on, tilted, with a tumour: brought to the
shape of MNI152 and warped anew for each, and in its own shape. Their truth is as good as the registration: two millimetres, and a few for an affine one of
thick slices. With --to the tables are kept as CSV, with where they come from.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from datetime import date
from pathlib import Path
from typing import Iterable, Iterator, NamedTuple

import cv2
import nibabel
import numpy as np
import pandas as pd
import psutil
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from _pictures import no_heads
from xai.atlas import NotLocalisable, Place, localise
from xai.atlas_heads import REFERENCE, REFERENCE_MASK, acquired_slices, aligned, as_head, find, registered
from xai.atlas_reading import read
from xai.atlas_regions import AXIS, positions, spread
from xai.atlas_synthesis import SELLA_MM, KnownSlice, known_slices
from xai.atlas_validation import errors_at, naive_place, outside_at, point_errors, regions_at
from xai.paths import LABELS, PLANES, atomic, write_text
from xai.reference import commit, device

METHODS = ("naive", "retrieval", "regression", "both")
CELL_MM = 12.0  # of the maps of errors
VIEWS = {"sagittal": ("y", "z"), "coronal": ("x", "z"), "axial": ("x", "y")}


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


def largest_placed(root: Path) -> pd.DataFrame:
    """Where each patient's tumour lies by the slice of each plane in which its mask is largest.

    One row a slice: patient, label, plane, x (its size), y, z in mm; `middle` and `sd` of the candidates' levels there, along the plane's axis;
    the slice's `detail`.
    """
    index, rows = pd.read_csv(root / "index.csv", dtype=str), []
    index["area"] = [np.count_nonzero(cv2.imread(str(root / path), cv2.IMREAD_GRAYSCALE)) for path in index["mask"]]
    largest = index.sort_values("area", ascending=False, kind="stable").drop_duplicates(["patient", "plane"])
    for item in tqdm(largest.itertuples(), total=len(largest), desc="three planes", unit="slice"):
        image, mask = (cv2.imread(str(root / path), cv2.IMREAD_GRAYSCALE) for path in (item.image, item.mask))
        place = placed(image.astype(np.float32), item.plane, mask, "both")
        if place is not None:
            found, weights = positions(np.argwhere(mask), place)
            centres = found.mean(axis=1)
            if item.plane == "sagittal":
                centres[:, 0] = np.abs(centres[:, 0])
            x, y, z = centres[0]
            levels = centres[:, AXIS[item.plane]]
            row = {"patient": item.patient, "label": item.label, "plane": item.plane, "x": abs(x), "y": y, "z": z}
            rows.append(row | {"middle": weights @ levels, "sd": spread(levels, weights), "detail": place.detail})
    return pd.DataFrame(rows)


def beside_others(found: pd.DataFrame) -> pd.DataFrame:
    """`largest_placed` with what a patient's other two planes say: no truth is needed for it, and no sella.

    Returns
    -------
    pandas.DataFrame
        Three columns more, in mm along the axis of the plane: ``level`` of the slice, ``others``, the mean of where the other two planes see the
        tumour, and ``apart``, how far these are from each other. Only rows of patients placed in all three.
    """
    wide, parts = found.pivot(index="patient", columns="plane", values=list("xyz")), []
    for plane in PLANES:
        axis, own = "xyz"[AXIS[plane]], found[found["plane"] == plane]
        others = wide[axis].drop(columns=plane).loc[own["patient"]].to_numpy()
        parts.append(own.assign(level=own[axis], others=others.mean(axis=1), apart=others[:, 0] - others[:, 1]))
    return pd.concat(parts, ignore_index=True).dropna(subset=["level", "others"])


def levels(found: pd.DataFrame) -> pd.DataFrame:
    """Level of a slice against where the other two planes see the tumour, in mm along the plane's axis: one row a patient and plane.

    All tumours count. The slice with the largest mask need not pass through the tumour's middle, so not all
    of it is error. Beside it stands how far the other two are from each other, and whether the interval that is said to hold the level at the
    tumour with 90 % (normal, from the candidates' spread) holds what they see.
    """
    rows = beside_others(found).sort_values(["plane", "patient", "label"])
    inside = (rows["middle"] - rows["others"]).abs() <= 1.645 * rows["sd"]
    apart = {"level, mm": rows["level"] - rows["others"], "the other two apart, mm": rows["apart"], "90 % interval holds it": inside.astype(float)}
    return rows.assign(**apart).round(2)[["label", "plane", *apart]].reset_index(drop=True)


def agreement(apart: pd.DataFrame) -> pd.DataFrame:
    """`levels` by plane and class."""
    records = []
    for plane in PLANES:
        for label in (*LABELS, "all"):
            part = apart[(apart["plane"] == plane) & ((label == "all") | (apart["label"] == label))]
            level = part["level, mm"]
            records.append({
                "plane": plane, "tumours": label, "patients": len(part), "median, mm": round(level.median(), 1),
                "median distance, mm": round(level.abs().median(), 1), "90th percentile, mm": round(level.abs().quantile(0.9), 1),
                "the other two apart, median mm": round(part["the other two apart, mm"].abs().median(), 1),
                "90 % interval holds it": round(part["90 % interval holds it"].mean(), 2),
            })  # fmt: skip
    return pd.DataFrame(records)


def planes_read(root: Path) -> pd.DataFrame:
    """The plane that the network reads in every slice of the index, and its own: id, plane, read ("no head" among them)."""
    index, rows = pd.read_csv(root / "index.csv", dtype=str), []
    for item in tqdm(index.itertuples(), total=len(index), desc="planes", unit="slice"):
        odds = read(cv2.imread(str(root / item.image), cv2.IMREAD_GRAYSCALE)).planes
        rows.append({"id": item.id, "plane": item.plane, "read": (*PLANES, "no head")[int(np.argmax(odds))]})
    return pd.DataFrame(rows)


def planes_summary(found: pd.DataFrame) -> pd.DataFrame:
    """By plane: slices, as what they are read, and the share that is right; the last row is all of them."""
    counts = pd.crosstab(found["plane"], found["read"]).reindex(index=PLANES, columns=[*PLANES, "no head"], fill_value=0)
    right = (found["plane"] == found["read"]).groupby(found["plane"]).mean().reindex(PLANES)
    counts.loc["all"], right.loc["all"] = counts.sum(), (found["plane"] == found["read"]).mean()
    table = counts.add_prefix("read as ").assign(right=right.round(4))
    table.insert(0, "slices", counts.sum(axis=1))
    return table.rename_axis("plane").reset_index()


def all_placed(root: Path) -> pd.DataFrame:
    """Place every slice of the index: by plane how many are refused, seconds a slice, and the memory of the last tenth of them over that of the second."""
    index, process, rows = pd.read_csv(root / "index.csv", dtype=str), psutil.Process(), []
    for item in tqdm(index.itertuples(), total=len(index), desc="all slices", unit="slice"):
        image, mask = (cv2.imread(str(root / path), cv2.IMREAD_GRAYSCALE) for path in (item.image, item.mask))
        start = time.perf_counter()
        place = placed(image.astype(np.float32), item.plane, mask, "both")
        sd = np.nan if place is None else place.through_plane_sd_mm
        rows.append({"plane": item.plane, "seconds": time.perf_counter() - start, "sd": sd, "memory": process.memory_info().rss})
    table, records = pd.DataFrame(rows), []
    tenths = np.array_split(table["memory"], 10)
    for plane in (*PLANES, "all"):
        part = table[(plane == "all") | (table["plane"] == plane)]
        records.append({
            "plane": plane, "slices": len(part), "refused": int(part["sd"].isna().sum()), "share": round(part["sd"].isna().mean(), 3),
            "stated sd, median mm": round(part["sd"].median(), 1), "seconds, median": round(part["seconds"].median(), 2),
            "memory, last tenth over second": round(tenths[-1].mean() / tenths[1].mean(), 2),
        })  # fmt: skip
    return pd.DataFrame(records)


ANEW, ANEW_COUNT = 41, 1000  # seed and number of pictures that were drawn when the way to refuse them stood


def no_head_placed(count: int) -> pd.DataFrame:
    """Of pictures without a head, by kind: how many, and how many of them are placed nevertheless.

    What the limits of `xai.atlas` are on was chosen with `count` of them in view, and 600 drawn with seed 101, or 1,200 of seeds 0 and 13 counted
    beside; their values are shares of real slices. A thousand are drawn anew.
    """
    kinds = no_heads(count)
    anew = list(no_heads(len(kinds["photographs, drawings, noise, shapes"]) + ANEW_COUNT, seed=ANEW).values())[-1]
    records = []
    for kind, pictures in (kinds | {"more such parts and clouds, drawn when the way to refuse them stood": anew}).items():
        places = [placed(picture.astype(np.float32), None, None, "both") for picture in tqdm(pictures, desc="no head", unit="picture")]
        records.append({"pictures without a head": kind, "pictures": len(places), "placed": sum(place is not None for place in places)})
    return pd.DataFrame(records)


class Unseen(NamedTuple):
    """What slices of known place say: errors and names by slice and method; by both methods together, points outside the atlas, errors of points."""

    errors: pd.DataFrame
    named: pd.DataFrame
    outside: pd.DataFrame
    points: pd.DataFrame


def unseen(slices: Iterable[KnownSlice], heads: str) -> Unseen:
    """Place slices whose place is known by every method."""
    rows, named, outside, points = [], [], [], []
    for item in tqdm(slices, unit="slice"):
        mask = item.mask if item.mask is not None and item.mask.any() else None
        for method in METHODS:
            place = placed(item.picture, item.plane, mask, method)
            key = {"heads": heads, "plane": item.plane, "method": method}
            rows.append(key | errors_at(place, item.plane, item.pixels, item.mni))
            named.append(regions_at(place, item.plane, item.pixels, item.mni).assign(**key))
            if method == "both" and place is not None:
                outside.append(outside_at(place, item.pixels, item.mni, item.sella).assign(**key))
                points.append(point_errors(place, item.pixels, item.mni).assign(**key))
    return Unseen(pd.DataFrame(rows), *(pd.concat(parts, ignore_index=True) for parts in (named, outside, points)))


def whole(heads: pd.Series) -> pd.Series:
    """Names of heads with all patients together."""
    return heads.str.partition(",")[0].rename(heads.name)


def outside_summary(outside: pd.DataFrame) -> pd.DataFrame:
    """How well the probability of lying outside the atlas parts cerebellum and sella from cortex: area under the ROC curve by heads."""
    records = []
    for heads, part in outside.groupby(whole(outside["heads"])):
        for tissue in ("cerebellum", "sella"):
            pair = part[part["tissue"].isin(["cortex", tissue])]
            truth = pair["tissue"] == tissue
            records.append({
                "heads": heads, "outside": tissue, "points": int(truth.sum()), "points of cortex": int((~truth).sum()),
                "probability outside there": round(pair.loc[truth, "outside"].mean(), 3), "in cortex": round(pair.loc[~truth, "outside"].mean(), 3),
                "area under the ROC curve": round(roc_auc_score(truth, pair["outside"]), 3) if 0 < truth.sum() < len(pair) else np.nan,
            })  # fmt: skip
    return pd.DataFrame(records)


def error_map(points: pd.DataFrame) -> pd.DataFrame:
    """Mean error of points by heads, plane of their slices, and cell of a view: `across` and `along` are a cell's centre, mm."""
    tables = []
    for view, axes in VIEWS.items():
        cells = [(np.floor(points[axis] / CELL_MM) + 0.5) * CELL_MM for axis in axes]
        grouped = points["mm"].groupby([whole(points["heads"]), points["plane"], cells[0].rename("across"), cells[1].rename("along")])
        tables.append(grouped.agg(points="size", mm="mean").round({"mm": 1}).reset_index().assign(view=view))
    return pd.concat(tables, ignore_index=True)[["heads", "plane", "view", "across", "along", "points", "mm"]]


def unseen_summary(errors: pd.DataFrame, named: pd.DataFrame) -> pd.DataFrame:
    """By heads, plane and method. A point of a slice that was not placed counts as named wrongly: there is no abstaining here."""
    records = []
    pooled = [table.assign(heads="patients, all")[table["heads"].str.startswith("patients")] for table in (errors, named)]
    errors, named = (pd.concat([whole, table], ignore_index=True) for whole, table in zip(pooled, (errors, named)))
    for keys, part in errors.groupby(["heads", "plane", "method"], sort=False):
        points = named[(named[["heads", "plane", "method"]] == keys).all(axis=1)]
        records.append(dict(zip(("heads", "plane", "method"), keys)) | {
            "slices": len(part), "not placed": int(part["through_plane_mm"].isna().sum()),
            "level, median mm": round(part["level_mm"].median(), 1), "level, 90th percentile mm": round(part["level_mm"].quantile(0.9), 1),
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
    own["heads"] = whole(own["heads"])
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
    parser.add_argument("--pictures", type=int, default=200, help="pictures that show no head")
    parser.add_argument("--head-slices", type=int, default=180, help="slices drawn from the head")
    parser.add_argument("--seed", type=int, default=11, help="of the head's slices")
    parser.add_argument("--to", type=Path, help="folder for the tables, such as results/localisation")
    options = parser.parse_args()
    if not (options.root or options.volumes or options.head):
        parser.error("nothing to measure: give --root, --volumes or --head")
    if (options.volumes or options.head) and not options.packages:
        parser.error("--volumes and --head need --packages, whose templates they are registered to")
    made = {"date": date.today().isoformat(), "commit": commit(), "device": device()}

    def keep(name: str, table: pd.DataFrame, **record: object) -> None:
        """Print a table, and write it at once: the next one may take half an hour."""
        if name not in ("regions", "error_map", "levels"):
            print(f"\n{name}\n{table.to_string(index=False)}", flush=True)
        if options.to:
            with atomic(options.to / f"{name}.csv") as temporary:
                table.to_csv(temporary, index=False)
            write_text(options.to / f"{name}.json", json.dumps(made | record, indent=1))

    if options.root:
        errors = anchor(options.root, options.slices)
        print(errors.groupby("method")["seconds"].median().round(3).rename("processor seconds a slice, median").to_string())
        keep("anchor", summary(errors), slices=options.slices)
        planes = planes_read(options.root)
        wrong = planes.loc[planes["plane"] != planes["read"], ["id", "read"]]
        keep("planes", planes_summary(planes), wrong=dict(wrong.to_numpy().tolist()))
        apart = levels(largest_placed(options.root))
        keep("levels", apart)
        keep("agreement", agreement(apart))
        keep("no_head", no_head_placed(options.pictures))
        keep("all_slices", all_placed(options.root))
    if options.volumes or options.head:
        measured = [
            unseen(acquired(path, options.packages), f"patients, {'chosen on' if path.name in options.chosen_on else 'held out'}") for path in options.volumes
        ]
        for straight, how in ((True, ""), (False, " in its own shape")) if options.head else ():
            slices = drawn(options.head, options.packages, options.head_slices, options.seed, straight=straight)
            measured.append(unseen(slices, options.head.name.partition(".")[0] + how))
        known = Unseen(*(pd.concat(parts, ignore_index=True) for parts in zip(*measured)))
        found = {
            "localisation": unseen_summary(known.errors, known.named), "regions": regions(known.named), "outside": outside_summary(known.outside),
            "error_map": error_map(known.points),
        }  # fmt: skip
        for name, table in found.items():
            keep(
                name, table, volumes=[path.name for path in options.volumes], chosen_on=options.chosen_on, head=options.head and options.head.name,
                head_slices=options.head_slices, seed=options.seed,
            )  # fmt: skip


def acquired(path: Path, packages: Path) -> Iterator[KnownSlice]:
    """Slices of a patient's volume; ``<name>_tumour.nii.gz`` beside ``<name>_t1post.nii.gz`` is left out of the comparison."""
    tumour = path.with_name(path.name.replace("_t1post", "_tumour"))
    mask = nibabel.load(tumour) if tumour != path and tumour.exists() else None
    return acquired_slices(aligned(path, find(packages, REFERENCE)), mask)


def drawn(path: Path, packages: Path, slices: int, seed: int, *, straight: bool = True) -> Iterator[KnownSlice]:
    """Slices of a registered head: brought to the shape of MNI152 and warped at random, or in its own shape."""
    registration = registered(path, find(packages, REFERENCE), find(packages, REFERENCE_MASK))
    return known_slices(as_head(nibabel.load(path), path.name, registration, straight=straight, beyond="constant"), slices, seed)


if __name__ == "__main__":
    main()
