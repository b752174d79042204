"""How wide is the interval of a slice's level to be? Chosen on heads, patients and real slices; the table says how often it holds the level.

    python benchmarks/interval_width.py --root /path/to/slices --volumes NN_t1post.nii.gz ... --chosen-on NN_t1post.nii.gz ... \\
        --heads sri24.nii.gz niwT1.nii.gz --unseen ch2.nii.gz --packages /path/to/unpacked/packages

The likely places of a slice have a spread of their own. Quantile regression (Koenker & Bassett 1978, doi 10.2307/1913643) says what the 90 % quantile
of the level's error is, given that spread and the detail that the slice shows; `xai.atlas.WIDTH` holds what it found. Errors of volumes' slices are
known. Those of real slices are against where the other two planes of the patient see the tumour, so they hold these planes' errors, too.
Each of four groups counts alike: heads (each in the template's shape and in its own), patients named by --chosen-on, half of the real slices' patients.
"""

from __future__ import annotations

import argparse
import json
import zlib
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import QuantileRegressor
from tqdm import tqdm

from localisation import acquired, drawn, largest_placed, placed
from xai import atlas
from xai.atlas_regions import AXIS, spread
from xai.atlas_validation import levels_at
from xai.paths import PLANES, atomic, write_text
from xai.reference import commit, device

NORMAL = 1.645  # standard deviations to either side hold 90 %


def of_volume(slices, heads: str, chosen: bool) -> pd.DataFrame:
    """One row a placed slice: `best` and `middle` of its candidates' levels from the true one, their `sd` (mm), and its `detail`."""
    rows = []
    for item in tqdm(slices, desc=heads, unit="slice"):
        place = placed(item.picture, item.plane, item.mask if item.mask is not None and item.mask.any() else None, "both")
        if place is not None:
            levels, weights, level = levels_at(place, item.pixels, item.mni)
            apart = {"best": levels[0] - level, "middle": weights @ levels - level, "sd": spread(levels, weights), "detail": place.detail}
            rows.append({"heads": heads, "chosen": chosen, "plane": item.plane} | apart)
    return pd.DataFrame(rows)


def of_real_slices(root: Path) -> pd.DataFrame:
    """The same of the slices with the largest masks, against what the patient's other two planes say."""
    found, parts = largest_placed(root), []
    wide = found.pivot(index="patient", columns="plane", values=["x", "y", "z"])
    for plane in PLANES:
        axis = "xyz"[AXIS[plane]]
        own = found[found["plane"] == plane].set_index("patient")
        seen = wide[axis].drop(columns=plane).mean(axis=1, skipna=False).reindex(own.index)
        parts.append(own.assign(best=own[axis] - seen, middle=own["middle"] - seen).dropna(subset=["middle"]).reset_index())
    rows = pd.concat(parts, ignore_index=True)
    rows["chosen"] = [zlib.crc32(patient.encode()) % 2 == 0 for patient in rows["patient"]]
    return rows.assign(heads="real slices")[["heads", "chosen", "plane", "best", "middle", "sd", "detail"]]


def fitted(rows: pd.DataFrame) -> np.ndarray:
    """`atlas.WIDTH` by the rows that are to choose it, all kinds of heads with the same weight."""
    rows = rows[rows["chosen"]]
    weights = 1 / rows.groupby("heads")["sd"].transform("size")
    evidence = np.log(np.column_stack([np.full(len(rows), np.e), rows["sd"], rows["detail"]]))
    quantile = QuantileRegressor(quantile=0.9, alpha=0, fit_intercept=False)
    quantile.fit(evidence, np.log(rows["middle"].abs().clip(lower=0.05)), sample_weight=weights / weights.mean())
    return quantile.coef_ - [np.log(NORMAL), 0, 0]


def held(rows: pd.DataFrame, width: np.ndarray) -> pd.DataFrame:
    """How often intervals hold the level, with the candidates' own spread and with `width`, by heads, plane, and whether they chose it."""
    wanted = np.exp(width[0]) * rows["sd"] ** width[1] * rows["detail"] ** width[2]
    middle = rows["best"] + wanted / rows["sd"] * (rows["middle"] - rows["best"])
    rows = rows.assign(
        wanted=wanted, before=rows["middle"].abs() <= NORMAL * rows["sd"], after=middle.abs() <= NORMAL * wanted, role=np.where(rows["chosen"], "chosen on", "held out")
    )
    table = rows.groupby(["heads", "role", "plane"], sort=False).agg(
        slices=("sd", "size"), error=("best", lambda best: best.abs().median()), own=("sd", "median"), width=("wanted", "median"),
        before=("before", "mean"), after=("after", "mean"),
    ).reset_index()  # fmt: skip
    names = {
        "error": "level, median mm", "own": "own sd, median mm", "width": "sd, median mm",
        "before": "own 90 % interval holds the level", "after": "90 % interval holds the level",
    }  # fmt: skip
    return table.round({"error": 1, "own": 1, "width": 1, "before": 2, "after": 2}).rename(columns=names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder with index.csv and real slices")
    parser.add_argument("--volumes", type=Path, nargs="+", required=True, help="patients' volumes of axial slices, NIfTI; a tumour's mask beside each")
    parser.add_argument("--chosen-on", nargs="+", required=True, help="names of those volumes that choose; the others are held out")
    parser.add_argument("--heads", type=Path, nargs="+", required=True, help="whole heads that choose")
    parser.add_argument("--unseen", type=Path, nargs="+", default=[], help="whole heads that are held out")
    parser.add_argument("--packages", type=Path, required=True, help="folder with the unpacked packages that xai.atlas_heads names, to register to")
    parser.add_argument("--head-slices", type=int, default=180, help="slices drawn from each head")
    parser.add_argument("--seed", type=int, default=23, help="of the heads' slices")
    parser.add_argument("--to", type=Path, help="folder for the table, such as results/localisation")
    options = parser.parse_args()
    atlas.WIDTH = (0.0, 1.0, 0.0)  # the likely places' own spread
    parts = [of_real_slices(options.root)]
    parts += [of_volume(acquired(path, options.packages), "patients", path.name in options.chosen_on) for path in options.volumes]
    for path in (*options.heads, *options.unseen):
        for straight, shape in ((True, ""), (False, " in its own shape")):
            slices = drawn(path, options.packages, options.head_slices, options.seed, straight=straight)
            parts.append(of_volume(slices, path.name.partition(".")[0] + shape, path in options.heads).assign(head=path.name))
    rows = pd.concat(parts, ignore_index=True)
    width = fitted(rows.assign(heads=rows["head"].fillna(rows["heads"]))).round(2)
    table = held(rows, width)
    print(f"WIDTH = {tuple(width.tolist())}\n{table.to_string(index=False)}")
    if options.to:
        with atomic(options.to / "interval_width.csv") as temporary:
            table.to_csv(temporary, index=False)
        made = {"date": date.today().isoformat(), "commit": commit(), "device": device(), "width": width.tolist(), "seed": options.seed}
        write_text(options.to / "interval_width.json", json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
