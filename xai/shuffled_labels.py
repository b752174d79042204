"""Do heatmaps depend on what was learned? Networks trained on labels that mean nothing (Adebayo et al. 2018, data randomisation).

Three trainings of one encoder explain the same slices: on the true labels, on the true labels again with another seed, and on labels
shuffled among the training slices. Masks stay true throughout. Two trainings never give the same map; the second one says how far apart
honest trainings are, and a heatmap that shows the class should move much further with shuffled labels than that.
"""

from __future__ import annotations

from typing import Iterator

import numpy as np
import pandas as pd

from xai.ablation import repeat
from xai.data.dataset import Dataset, lay_out_beside, read_index
from xai.metrics.faithfulness import rank_similarity
from xai.metrics.intervals import means_with_intervals
from xai.metrics.overlap import energy_inside, pointing_game
from xai.paths import Study, StudyError
from xai.profiles import Profile
from xai.scores import learn, slice_scores

VARIANTS = ("hybrid", "classification_only")
LABELS_OF = ("true", "true again", "shuffled")
METHOD = "gradcam"  # Score-CAM would cost one forward pass per channel, slice and training
MEASURES = ("accuracy", "similarity", "pointing", "energy")


def prepare(study: Study, profile: Profile, labels: str) -> tuple[Study, Profile]:
    """The study and profile of one training; the study itself for true labels."""
    if labels == "true":
        return study, profile
    if labels == "true again":
        return repeat(study, profile, profile.seed + 1)
    target = Study(study.root / "shuffled")
    index = read_index(study)
    train = index["split"] == "train"
    index.loc[train, "label"] = np.random.default_rng(profile.seed).permutation(index.loc[train, "label"].to_numpy())
    return lay_out_beside(study, target, index), profile


def runs(study: Study, profile: Profile) -> Iterator[tuple[str, str, Study, Profile]]:
    """variant, labels, and the study and profile of every training."""
    for variant in VARIANTS:
        for labels in LABELS_OF:
            yield variant, labels, *prepare(study, profile, labels)


def run(study: Study, profile: Profile) -> None:
    """Train and predict all of them; what is finished is not repeated, what was killed goes on.

    Raises
    ------
    StudyError
        The test is off in this profile.
    """
    architecture = _architecture(profile)
    for variant, labels, target, own in runs(study, profile):
        print(f"{variant.replace('_', ' ')}, labels {labels}", flush=True)
        learn(target, own, architecture, variant)


def scores(study: Study, profile: Profile) -> pd.DataFrame:
    """One row per explained test slice and training: variant, labels, id, patient, and `MEASURES`.

    `similarity` is the rank correlation with the heatmap of the network that learned the true labels; NaN for that network itself. All maps
    explain the slice's true class. A constant map has no ranks; it is not alike.
    """
    from xai.saliency import Split, explain, methods_for
    from xai.training import load

    architecture = _architecture(profile)
    dataset = Dataset(study)
    rows = dataset.balanced_rows("test", profile.saliency.test_slices)
    images, masks, classes = np.asarray(dataset.images[rows], np.float32), np.asarray(dataset.masks[rows]), dataset.labels(rows)
    records, first = [], None
    for variant, labels, target, own in runs(study, profile):
        split = Split(load(target, own, architecture, variant=variant), minimum_grid=profile.saliency.minimum_grid)
        maps = np.concatenate([part[METHOD] for _, part in explain(methods_for(split, [METHOD]), images, classes=classes)])
        first = maps if labels == "true" else first
        table = slice_scores(target, architecture, variant, made_by="03_shuffled_labels").set_index("id").loc[dataset.index["id"].iloc[rows]]
        similarity = np.full(len(rows), np.nan) if labels == "true" else np.nan_to_num(rank_similarity(first, maps))
        records.append(pd.DataFrame({
            "variant": variant, "labels": labels, "id": table.index, "patient": table["patient"].to_numpy(), "accuracy": table["accuracy"].to_numpy(),
            "similarity": similarity, "pointing": pointing_game(maps, masks), "energy": energy_inside(maps, masks),
        }))  # fmt: skip
    return pd.concat(records, ignore_index=True)


def summary(found: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """variant, labels, and the mean of each of `MEASURES` with its 95 % interval over test patients; from `scores`."""
    rows = []
    for (variant, labels), part in found.groupby(["variant", "labels"], sort=False):
        measures = [name for name in MEASURES if part[name].notna().any()]
        rows.append({"variant": variant, "labels": labels} | means_with_intervals(part, measures, draws=profile.evaluation.bootstrap, seed=profile.seed))
    return pd.DataFrame(rows)


def _architecture(profile: Profile) -> str:
    architecture = profile.training.shuffled
    if architecture is None:
        raise StudyError(
            "The test with shuffled labels is off: `training.shuffled` is null in the profile, expected the name of a network, for example "
            "efficientnetb0."
        )
    return architecture
