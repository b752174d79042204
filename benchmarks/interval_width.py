"""How wide is the interval of a slice's level to be? Chosen on heads, patients and real slices; the table says how often it holds the level.

    python benchmarks/interval_width.py --root /path/to/slices --volumes NN_t1post.nii.gz ... --chosen-on NN_t1post.nii.gz ... \\
        --heads sri24.nii.gz niwT1.nii.gz --unseen ch2.nii.gz --packages /path/to/unpacked/packages

The likely places of a slice have a spread of their own. `xai.atlas.WIDTH` makes it larger or smaller, by that spread and by the detail that the slice
shows, so that 90 % intervals hold the level of nine in ten slices whose place is known. Real slices have no truth: their level is compared with
where the other two planes of the patient see the tumour. That has errors of its own, so .85 are to be held. Four kinds count alike: two heads,
each in the template's shape and in its own, the patients named by --chosen-on, and half of the real slices' patients.
"""

from __future__ import annotations

import argparse
import json
import zlib
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit
from tqdm import tqdm

from localisation import acquired, beside_others, drawn, largest_placed, placed
from xai import atlas
from xai.atlas_regions import spread
from xai.atlas_validation import levels_at
from xai.paths import atomic, write_text
from xai.reference import commit, device

REAL = "real slices"
NORMAL = 1.645  # standard deviations to either side hold 90 %
TARGET, TARGET_REAL = 0.9, 0.85
SOFTNESS = 0.15  # of the step from held to not, in logs of the error: without it the share held has no slope to follow


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
    rows = beside_others(largest_placed(root))
    rows = rows.assign(best=rows["level"] - rows["others"], middle=rows["middle"] - rows["others"])
    rows["chosen"] = [zlib.crc32(patient.encode()) % 2 == 0 for patient in rows["patient"]]
    return rows.assign(heads=REAL)[["heads", "chosen", "plane", "best", "middle", "sd", "detail"]]


def widened(rows: pd.DataFrame, width: np.ndarray) -> tuple[pd.Series, pd.Series]:
    """Standard deviation by `width`, and the candidates' middle when they are moved apart to it about the best one."""
    wanted = np.exp(width[0]) * rows["sd"] ** width[1] * rows["detail"] ** width[2]
    return wanted, rows["best"] + wanted / rows["sd"] * (rows["middle"] - rows["best"])


def fitted(rows: pd.DataFrame) -> np.ndarray:
    """`atlas.WIDTH` by the rows that are to choose it: the sum over kinds of squared differences of the shares held, by plane, from those wanted."""
    rows = rows[rows["chosen"]]
    groups = rows.groupby(["kind", "plane"]).indices
    planes = pd.Series([kind for kind, _ in groups]).value_counts()

    def miss(width: np.ndarray) -> float:
        wanted, middle = widened(rows, width)
        inside = expit(np.log(NORMAL * wanted / middle.abs().clip(lower=0.05)) / SOFTNESS).to_numpy()
        off = {key: inside[numbers].mean() - (TARGET_REAL if key[0] == REAL else TARGET) for key, numbers in groups.items()}
        return sum(value**2 / planes[kind] for (kind, _), value in off.items()) + 1e-4 * np.sum(width**2)

    starts = [np.array([-2.0, exponent, -1.0]) for exponent in (0.8, 1.2, 1.6)]
    return min((minimize(miss, start, method="Nelder-Mead", options={"maxiter": 4000, "maxfev": 4000}) for start in starts), key=lambda found: found.fun).x


def held(rows: pd.DataFrame, width: np.ndarray) -> pd.DataFrame:
    """How often intervals hold the level, with the candidates' own spread and with `width`, by heads, plane, and whether they chose it."""
    wanted, middle = widened(rows, width)
    rows = rows.assign(
        wanted=wanted, before=rows["middle"].abs() <= NORMAL * rows["sd"], after=middle.abs() <= NORMAL * wanted,
        role=np.where(rows["chosen"], "chosen on", "held out"),
    )  # fmt: skip
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
            parts.append(of_volume(slices, path.name.partition(".")[0] + shape, path in options.heads).assign(kind=path.name))
    rows = pd.concat(parts, ignore_index=True)
    rows["kind"] = rows["kind"].fillna(rows["heads"])
    width = fitted(rows).round(2)
    table = held(rows, width)
    print(f"WIDTH = {tuple(width.tolist())}\n{table.to_string(index=False)}")
    if options.to:
        for name, kept in {"interval_width": table, "interval_width_slices": rows.drop(columns="kind").round(3)}.items():
            with atomic(options.to / f"{name}.csv") as temporary:
                kept.to_csv(temporary, index=False)
        names = {name: [path.name for path in getattr(options, name)] for name in ("volumes", "heads", "unseen")} | {"chosen_on": options.chosen_on}
        made = {"date": date.today().isoformat(), "commit": commit(), "device": device(), "width": width.tolist(), "seed": options.seed, **names}
        write_text(options.to / "interval_width.json", json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
