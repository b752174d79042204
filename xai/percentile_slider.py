"""Chapter 4's slider: some test slices and their real heatmaps, small enough to lie inside the page.

The script ``book/_static/percentile.js`` cuts them as `xai.masks.threshold` and `xai.masks.refine` do, and counts as
`xai.metrics.overlap` does; tests hold the two against each other.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from xai import plots
from xai.data.dataset import Dataset
from xai.explaining import load_heatmaps
from xai.interactive import InteractiveFigure, as_text, halves_as_text, heat_colours
from xai.masks import refine, threshold
from xai.metrics.overlap import dice
from xai.paths import Study
from xai.profiles import Profile
from xai.shown import cases_to_show
from xai.tables import NAMES

STEP = 0.5  # of the slider, in percentiles
EXAMPLES = 4  # percentiles in the picture that is seen without a script


def percentile_slider(study: Study, profile: Profile, rules: pd.DataFrame) -> InteractiveFigure:
    """The percentile as something to move: the network that did best on validation, all its methods, one slice for each class.

    Parameters
    ----------
    rules : DataFrame
        Of `xai.thresholding.choose_rules`.

    Returns
    -------
    InteractiveFigure
        Its data hold, for each slice, image and drawn tumour (base64, S x S bytes each) and heatmaps as the study stores them (twice as many).
    """
    dataset = Dataset(study)
    positions = cases_to_show(study, profile)
    rows = dataset.rows("test")[positions]
    images, truths = np.asarray(dataset.images[rows]), np.asarray(dataset.masks[rows])
    architecture = rules.loc[rules["dice"].idxmax(), "architecture"]
    own = rules[rules["architecture"] == architecture].sort_values("dice", ascending=False, kind="stable")
    heatmaps = load_heatmaps(study, architecture, list(own["method"]), positions)
    index = dataset.index.iloc[rows]
    names = [f"{label}, {plane}, slice {name}" for label, plane, name in zip(index["label"], index["plane"], index["id"])]
    data = {
        "size": int(images.shape[1]), "opening": profile.masks.opening_radius, "network": NAMES.get(architecture, architecture),
        "lowest": profile.masks.lowest_percentile, "highest": profile.masks.highest_percentile, "step": STEP,
        "methods": [{"key": choice.method, "name": NAMES.get(choice.method, choice.method), "percentile": int(choice.percentile)} for choice in own.itertuples()],
        "slices": [
            {"name": name, "image": as_text(image), "truth": as_text(truth), "heat": {method: halves_as_text(maps[number]) for method, maps in heatmaps.items()}}
            for number, (name, image, truth) in enumerate(zip(names, images, truths))
        ],
        "colours": as_text(heat_colours()),
    }  # fmt: skip
    first = str(own["method"].iloc[0])
    levels = np.linspace(profile.masks.lowest_percentile, profile.masks.highest_percentile - 1, EXAMPLES).round().astype(int)
    steps = {int(level): refine(threshold(heatmaps[first], level), heatmaps[first], opening_radius=profile.masks.opening_radius) for level in levels}
    scores = {level: dice(masks, truths) for level, masks in steps.items()}
    return InteractiveFigure(
        kind="percentile", picture=plots.plot_percentile_examples(images, truths, steps, scores, list(index["label"])), data=data,
        alt=f"{len(rows)} test slices, each with the mask of its {NAMES.get(first, first)} heatmap at {len(levels)} percentiles, the drawn tumour and the Dice.",
        caption=f"One test slice for each class, heatmaps of {data['network']}: the mask (amber) against the drawn tumour (blue) as the percentile moves. "
        "Choosing a percentile here, with the truth in view, is what the oracle does.",
    )  # fmt: skip
