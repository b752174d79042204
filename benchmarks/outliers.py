"""How often does `xai explain` take a picture for what it is? Slices with and without a tumour, turned heads, and pictures of other things.

    python benchmarks/outliers.py --study runs/figshare

Prints counts of verdicts for the study's best network on validation, and how well two scores part slices with a tumour from heads
without one (area under the ROC curve). Nothing shown took part in setting the limits.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import entropy
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from _pictures import drawn, photographs
from xai.calibration import tempered
from xai.data.dataset import Dataset, fit_square
from xai.explain import Explainer
from xai.inputs import Scan
from xai.outliers import tumour_free

VERDICTS = ("ordinary", "no tumour", "unlike", "no head")
SEED = 40_009  # added to the study's: other heads than those that limits were set and judged on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path, default=Path("runs/quick"))
    parser.add_argument("--slices", type=int, default=60, help="test slices, balanced over classes and patients")
    options = parser.parse_args()
    explainer = Explainer(options.study, writer=None, scorecam_channels=4)  # heatmaps decide no verdict beyond the place of the mask
    dataset, size = Dataset(explainer.study), explainer.profile.data.image_size
    test = [np.asarray(dataset.images[row]) for row in dataset.balanced_rows("test", options.slices)]
    shown = {
        "slices with a tumour, test patients": test,
        "the same upside down": [image[::-1].copy() for image in test],
        "phantom heads without a tumour": list(tumour_free(explainer.profile, SEED)),
        "photographs, textures, drawings, noise, shapes": [*photographs(), *drawn()],
    }
    counts = []
    for name, pictures in shown.items():
        scans = (Scan(Path(f"{number}.png"), picture[None]) for number, picture in enumerate(pictures))
        found = Counter(explainer.explain(scan).verdict.kind for scan in tqdm(scans, desc=name, total=len(pictures), unit="slice"))
        counts.append({"shown": name, "slices": len(pictures)} | {kind: found[kind] for kind in VERDICTS})
    facts = explainer.ordinary.facts
    print(f"{explainer.architecture} of {options.study}, trained on {len(dataset.rows('train'))} slices")
    print(pd.DataFrame(counts).to_string(index=False))
    answers = [explainer.reader(np.stack([fit_square(image, size) for image in shown[name]])) for name in list(shown)[0:3:2]]
    truth = np.repeat([1, 0], [len(part.logits) for part in answers])
    sure = np.concatenate([explainer.ordinary.scores(part)["tumour"] for part in answers])
    spread = np.concatenate([entropy(tempered(part.logits, explainer.ordinary.temperature), axis=1) for part in answers])
    print(f"tumour or none, area under the ROC curve: sureness {roc_auc_score(truth, sure):.2f}, low entropy {roc_auc_score(truth, -spread):.2f}")
    print(f"temperature {explainer.ordinary.temperature:.2f}; calibration error {facts['ece_before']:.3f} before, {facts['ece_after']:.3f} after")


if __name__ == "__main__":
    main()
