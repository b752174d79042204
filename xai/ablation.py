"""What the second head does: each ablated encoder as a hybrid, with two unconnected heads and with one; several seeds, the same slices.

Repeats with another seed are small studies of their own below ``ablation/``, whose arrays are hard links to the study's.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from xai.data.dataset import Dataset, lay_out_beside, read_index
from xai.kept import kept_table
from xai.metrics import overlap
from xai.metrics.intervals import patient_interval
from xai.paths import VARIANTS, Study
from xai.profiles import Profile, save_profile
from xai.scores import slice_scores

METHODS = ("gradcam", "gradcampp")  # Score-CAM would cost one forward pass per channel, slice and run
MEASURES = ("accuracy", "dice", "gradcam_dice", "gradcampp_dice", "gradcam_pointing", "gradcampp_pointing")


def seeds_of(profile: Profile) -> list[int]:
    """The profile's seed and those that follow it."""
    return [profile.seed + number for number in range(profile.training.ablation_seeds)]


def runs_of(profile: Profile) -> list[tuple[str, str, int]]:
    """(architecture, variant, seed) of every training of the ablation; the hybrid with the first seed is the study's own."""
    training = profile.training
    variants = [variant for variant in VARIANTS if variant in training.ablation_variants]
    return [
        (architecture, variant, seed) for architecture in training.ablation for variant in variants for seed in seeds_of(profile)
    ]  # fmt: skip


def repeat(study: Study, profile: Profile, seed: int | None) -> tuple[Study, Profile]:
    """The study and profile of one seed: the study itself for its own seed or None, else a small study that shares its arrays."""
    if seed is None or seed == profile.seed:
        return study, profile
    target = Study(study.root / "ablation" / f"seed_{seed}")
    own = profile.model_copy(update={"seed": seed})
    lay_out_beside(study, target, read_index(study))
    save_profile(own, target.profile)
    return target, own


def cam_overlap(study: Study, profile: Profile, architecture: str, variant: str) -> pd.DataFrame:
    """How well heatmaps of one trained network outline the tumours of the explained test slices; kept beside its weights.

    Each method's threshold rule and the step that follows the image are those with the best mean Dice on the explained validation slices, as
    in chapter 4.

    Returns
    -------
    DataFrame
        id, patient, and for each of `METHODS` <method>_dice and <method>_pointing (tolerance 0).
    """
    return kept_table(
        study, architecture, variant, "cam_overlap.csv", lambda: _measured(study, profile, architecture, variant),
        knobs=[profile.saliency.model_dump(include={"minimum_grid", "test_slices", "validation_slices"}), profile.masks.model_dump()],
        modules=("saliency.py", "network_split.py", "masks.py", "outlines.py", "thresholding.py", "models.py", "metrics/overlap.py"),
    )  # fmt: skip


def _measured(study: Study, profile: Profile, architecture: str, variant: str) -> pd.DataFrame:
    from xai.saliency import Split, methods_for
    from xai.thresholding import choose_rule, masks_of, outlined, percentile_curve
    from xai.training import load

    dataset = Dataset(study)
    split = Split(load(study, profile, architecture, variant=variant), minimum_grid=profile.saliency.minimum_grid)
    methods = methods_for(split, METHODS)
    validation = dataset.balanced_rows("validation", profile.saliency.validation_slices)
    test = dataset.balanced_rows("test", profile.saliency.test_slices)
    images, truths = ({"validation": array[validation], "test": array[test]} for array in (dataset.images, dataset.masks))
    maps = {name: _heatmaps(methods, dataset, rows) for name, rows in (("validation", validation), ("test", test))}
    table = dataset.index.loc[test, ["id", "patient"]].reset_index(drop=True)
    for method in METHODS:
        curve = percentile_curve(maps["validation"][method], truths["validation"], profile)
        best = max(curve, key=curve.get)
        choice = choose_rule(maps["validation"][method], images["validation"], truths["validation"], profile, percentile=best)
        masks = masks_of(choice["rule"], maps["test"][method], images["test"], profile, chosen=best)
        masks = outlined(choice["outline"], masks, maps["test"][method], images["test"])
        table[f"{method}_dice"] = overlap.dice(masks, truths["test"])
        table[f"{method}_pointing"] = overlap.pointing_game(maps["test"][method], truths["test"])
    return table


def run_scores(study: Study, profile: Profile) -> pd.DataFrame:
    """architecture, variant, seed, id, patient and `MEASURES` of every test slice under every run; NaN where a run has no such head.

    Heatmap measures are those of the explained test slices.
    """
    parts = []
    for architecture, variant, seed in runs_of(profile):
        own, _ = repeat(study, profile, seed)
        made_by = f"02_training of {architecture}, variant {variant}, seed {seed}"
        part = slice_scores(own, architecture, variant, made_by=made_by)
        if variant != "segmentation_only":
            cams = own.model(architecture, variant) / "cam_overlap.csv"
            part = part.merge(pd.read_csv(own.need(cams, "02_second_head"), dtype={"id": str}).drop(columns="patient"), how="left", on="id")
        parts.append(part.assign(architecture=architecture, variant=variant, seed=seed))
    scores = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["architecture", "variant", "seed", "id", "patient"])
    return scores.reindex(columns=["architecture", "variant", "seed", "id", "patient", *MEASURES])


def ablation_table(scores: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """Table T8: each run kind, mean over slices and seeds with intervals over patients, and the spread over seeds.

    Returns
    -------
    DataFrame
        architecture, variant, seeds, each of `MEASURES` with ``_low`` and ``_high``, and ``accuracy_sd``, ``dice_sd``: standard deviation of
        the seeds' means.
    """
    records = []
    for (architecture, variant), part in scores.groupby(["architecture", "variant"], sort=False):
        record = {"architecture": architecture, "variant": variant, "seeds": part["seed"].nunique()}
        for measure in MEASURES:
            record |= _with_interval(measure, part.groupby(["id", "patient"])[measure].mean(), profile)
        for measure in ("accuracy", "dice"):
            record[f"{measure}_sd"] = part.groupby("seed")[measure].mean().std()
        records.append(record)
    columns = ["architecture", "variant", "seeds"]
    columns += [name for measure in MEASURES for name in (measure, f"{measure}_low", f"{measure}_high")]
    return pd.DataFrame(records, columns=[*columns, "accuracy_sd", "dice_sd"])


def gap_table(scores: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """The hybrid minus each other variant, paired by slice and averaged over seeds; intervals resample patients, not seeds.

    Returns
    -------
    DataFrame
        architecture, measure, against (the other variant; only those that have the measure), hybrid, alone (the other variant's mean), gap,
        gap_low, gap_high.
    """
    records = []
    for architecture, part in scores.groupby("architecture", sort=False):
        means = part.groupby(["id", "patient", "variant"])[list(MEASURES)].mean().unstack("variant")
        for measure in MEASURES:
            for against in (variant for variant in VARIANTS[1:] if variant in means[measure]):
                pair = means[measure][["hybrid", against]].dropna()
                if len(pair):
                    record = {"architecture": architecture, "measure": measure, "against": against,
                              "hybrid": pair["hybrid"].mean(), "alone": pair[against].mean()}  # fmt: skip
                    records.append(record | _with_interval("gap", pair["hybrid"] - pair[against], profile))
    return pd.DataFrame(records, columns=["architecture", "measure", "against", "hybrid", "alone", "gap", "gap_low", "gap_high"])


def _heatmaps(methods, dataset: Dataset, rows: np.ndarray) -> dict[str, np.ndarray]:
    from xai.saliency import explain

    parts = [maps for _, maps in explain(methods, dataset.images[rows])]
    return {method.name: np.concatenate([part[method.name] for part in parts]).astype(np.float32) for method in methods}


def _with_interval(name: str, values: pd.Series, profile: Profile) -> dict[str, float]:
    """The mean of a series with levels id and patient, and its interval over patients."""
    values = values.dropna()
    if values.empty:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), np.nan)
    patients = values.index.get_level_values("patient").to_numpy()
    low, high = patient_interval(values.to_numpy(float), patients, draws=profile.evaluation.bootstrap, seed=profile.seed)
    return {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}
