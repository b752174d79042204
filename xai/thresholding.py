"""Chapter 4's work: choose thresholds on validation, turn every heatmap of a study into a mask, and score all of it."""

from __future__ import annotations

import json
from typing import Iterator, NamedTuple, Sequence

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from xai.data.dataset import Dataset
from xai.masks import (
    RULES, contrast_percentiles, edge_percentiles, half_energy, half_maximum, otsu, refine, refine_steps, threshold,
)  # fmt: skip
from xai.metrics import overlap as scores
from xai.metrics.intervals import patient_interval
from xai.outlines import STEPS, follow_image
from xai.paths import LABELS, Study, atomic, write_text
from xai.profiles import Profile

LABEL_FREE = tuple(rule for rule in RULES if rule != "oracle")  # rules that never see the test masks
CUTS = {"otsu": otsu, "half maximum": half_maximum, "half energy": half_energy}  # by the heatmap alone
CHOSEN = "chosen"  # the rule best on validation, and the step that follows the image
PERCENTILES = {"contrast": contrast_percentiles, "edges": edge_percentiles}  # by heatmap and image


def percentiles(profile: Profile) -> np.ndarray:
    """Candidate percentiles of a profile."""
    return np.arange(profile.masks.lowest_percentile, profile.masks.highest_percentile + 1, profile.masks.step)


def validation_curves(study: Study, profile: Profile) -> pd.DataFrame:
    """Mean Dice on validation slices for every candidate percentile, after clean-up.

    Returns
    -------
    DataFrame
        architecture, method, percentile, dice.
    """
    dataset = Dataset(study)
    truth = np.asarray(dataset.masks[dataset.balanced_rows("validation", profile.saliency.validation_slices)])
    records = []
    for architecture, method in _pairs(profile):
        curve = percentile_curve(_validation_maps(study, architecture, method), truth, profile)
        records += [{"architecture": architecture, "method": method, "percentile": level, "dice": dice} for level, dice in curve.items()]
    return pd.DataFrame(records)


def percentile_curve(heatmaps: np.ndarray, truth: np.ndarray, profile: Profile) -> dict[int, float]:
    """Mean Dice of the cleaned masks of heatmaps (N, S, S) against `truth`, by candidate percentile."""
    return {int(level): float(scores.dice(_clean(threshold(heatmaps, level), heatmaps, profile), truth).mean()) for level in percentiles(profile)}


def cut_of(
    rule: str, heatmaps: np.ndarray, images: np.ndarray, profile: Profile, *, chosen: float, truth: np.ndarray | None = None
) -> np.ndarray:
    """Raw masks (N, S, S) of heatmaps by one rule of `xai.masks.RULES`, before clean-up.

    Parameters
    ----------
    heatmaps, images : (N, S, S)
    chosen : float
        The percentile chosen on validation.
    truth : (N, S, S), for the oracle only
        The oracle takes for each slice the percentile whose cleaned mask has the best Dice against its own truth: an upper bound and no result.
    """
    if rule in CUTS:
        return CUTS[rule](heatmaps)
    candidates = percentiles(profile)
    if rule in PERCENTILES:
        return threshold(heatmaps, PERCENTILES[rule](heatmaps, images, candidates))
    if rule == "oracle":
        dice = [scores.dice(_clean(threshold(heatmaps, level), heatmaps, profile), truth) for level in candidates]
        return threshold(heatmaps, candidates[np.argmax(dice, axis=0)])
    return threshold(heatmaps, {"fixed": profile.masks.fixed_percentile, "validation": chosen}[rule])


def masks_of(rule: str, heatmaps: np.ndarray, images: np.ndarray, profile: Profile, **choice) -> np.ndarray:
    """Cleaned masks of heatmaps by one rule; parameters as `cut_of`."""
    return _clean(cut_of(rule, heatmaps, images, profile, **choice), heatmaps, profile)


def choose_rules(study: Study, profile: Profile, curves: pd.DataFrame) -> pd.DataFrame:
    """For each network and method the label-free rule with the best mean Dice on validation, and then the step that follows the image.

    Returns
    -------
    DataFrame
        architecture, method, percentile (chosen on validation), rule, outline (one of `outlines.STEPS`), dice of that choice, the
        Dice of each label-free rule, and that of each step on top of the chosen rule; all on validation.
    """
    dataset = Dataset(study)
    rows = dataset.balanced_rows("validation", profile.saliency.validation_slices)
    images, truth = np.asarray(dataset.images[rows]), np.asarray(dataset.masks[rows])
    records = []
    for architecture, method in tqdm(list(_pairs(profile)), desc="choosing on validation", unit="method"):
        part = curves[(curves["architecture"] == architecture) & (curves["method"] == method)]
        maps, percentile = _validation_maps(study, architecture, method), int(part.loc[part["dice"].idxmax(), "percentile"])
        records.append({"architecture": architecture, "method": method, **choose_rule(maps, images, truth, profile, percentile=percentile)})
    return pd.DataFrame(records)


def choose_rule(heatmaps: np.ndarray, images: np.ndarray, truth: np.ndarray, profile: Profile, *, percentile: int) -> dict:
    """The choice of `choose_rules` for the heatmaps (N, S, S) of one network and method on validation slices, whose best percentile is known."""
    masks = {rule: masks_of(rule, heatmaps, images, profile, chosen=percentile) for rule in LABEL_FREE}
    dice = {rule: float(scores.dice(made, truth).mean()) for rule, made in masks.items()}
    rule = max(dice, key=dice.get)
    followed = {step: float(scores.dice(outlined(step, masks[rule], heatmaps, images), truth).mean()) for step in STEPS}
    return {"percentile": percentile, "rule": rule, "outline": max(followed, key=followed.get), "dice": max(followed.values()), **dice, **followed}


def choices_in_short(rules: pd.DataFrame, options: Sequence[str], column: str) -> pd.DataFrame:
    """Rules or steps against methods: mean validation Dice over networks, and for how many pairs of network and method each was chosen.

    Parameters
    ----------
    rules : DataFrame
        Of `choose_rules`.
    options : sequence of str
        `LABEL_FREE` or `outlines.STEPS`.
    column : {"rule", "outline"}
        Where the choice stands.
    """
    means = rules.groupby("method", sort=False)[list(options)].mean().T
    means.columns.name = None
    means["chosen"] = rules[column].value_counts().reindex(options, fill_value=0).to_numpy()
    return means.rename_axis(column).reset_index()


def outlined(step: str, masks: np.ndarray, heatmaps: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Masks redrawn along the image's edges by a step of `xai.outlines`, as one piece without holes."""
    if step == "none":
        return masks
    return refine(follow_image(step, masks, heatmaps, images), heatmaps, opening_radius=0)


def mask_study(study: Study, profile: Profile, rules: pd.DataFrame) -> pd.DataFrame:
    """Write the masks of the chosen rule and step for every network and method, and score every rule on the test slices.

    ``masks/<architecture>/<method>.npy`` is uint8 (N_test, S, S); ``<method>.json`` beside it names rule and step. In the table the masks
    that are written stand under the threshold "chosen".

    Returns
    -------
    DataFrame
        Table T5: architecture, method, threshold, label, slices, dice, iou, precision, recall, pointing, energy, dice_low, dice_high (over
        patients). Maps that know nothing of the network stand in it as methods of the architecture "none".
    """
    dataset = Dataset(study)
    test = dataset.rows("test")
    positions = np.searchsorted(test, dataset.balanced_rows("test", profile.saliency.test_slices))
    rows = test[positions]
    images, truth = np.asarray(dataset.images[rows]), np.asarray(dataset.masks[rows])
    groups = Groups(dataset.index["label"].to_numpy()[rows], dataset.index["patient"].to_numpy()[rows], profile)
    records: list[dict] = []
    for choice in rules.itertuples():
        maps = _test_maps(study, choice.architecture, choice.method, positions)
        for rule in RULES:
            masks = masks_of(rule, maps, images, profile, chosen=choice.percentile, truth=truth)
            records += _scored(choice.architecture, choice.method, rule, maps, masks, truth, groups)
            if rule == choice.rule:
                masks = outlined(choice.outline, masks, maps, images)
                records += _scored(choice.architecture, choice.method, CHOSEN, maps, masks, truth, groups)
                whole = np.zeros((len(test), *masks.shape[1:]), np.uint8)
                whole[positions] = masks
                path = study.cam_masks(choice.architecture, choice.method)
                with atomic(path) as temporary:
                    np.save(temporary, whole)
                write_text(path.with_suffix(".json"), json.dumps({"rule": rule, "percentile": choice.percentile, "outline": choice.outline}))
    simple = scores.baselines(images, np.asarray(dataset.masks[dataset.rows("train")]), seed=profile.seed)
    for name, maps in simple.items():
        for rule in ("fixed", "oracle"):
            masks = masks_of(rule, maps, images, profile, chosen=profile.masks.fixed_percentile, truth=truth)
            records += _scored("none", name, rule, maps, masks, truth, groups)
    return pd.DataFrame(records)


def step_gains(study: Study, profile: Profile, rules: pd.DataFrame) -> pd.DataFrame:
    """What every step after the cut adds to Dice on the explained test slices, with the rule chosen for each network and method.

    Returns
    -------
    DataFrame
        step, dice (mean over networks, methods and slices), gain over the step before it with gain_low and gain_high over patients. The
        steps that follow the image each start from the cleaned mask.
    """
    dataset = Dataset(study)
    test = dataset.rows("test")
    positions = np.searchsorted(test, dataset.balanced_rows("test", profile.saliency.test_slices))
    images, truth = np.asarray(dataset.images[test[positions]]), np.asarray(dataset.masks[test[positions]])
    found: dict[str, list[np.ndarray]] = {}
    for choice in tqdm(list(rules.itertuples()), desc="gain of each step", unit="method"):
        maps = _test_maps(study, choice.architecture, choice.method, positions)
        cut = cut_of(choice.rule, maps, images, profile, chosen=choice.percentile)
        stages = [refine_steps(mask, heat, opening_radius=profile.masks.opening_radius) for mask, heat in zip(cut, maps)]
        steps = {"cut": cut} | {name: np.stack([stage[name] for stage in stages]) for name in stages[0]}
        steps |= {step: outlined(step, steps["filled"], maps, images) for step in STEPS if step != "none"}
        for name, masks in steps.items():
            found.setdefault(name, []).append(scores.dice(masks, truth))
    dice = {name: np.mean(values, axis=0) for name, values in found.items()}
    patients = dataset.index["patient"].to_numpy()[test[positions]]
    before = dict(zip(("opened", "component", "filled"), ("cut", "opened", "component"))) | {step: "filled" for step in STEPS}
    records = []
    for name, values in dice.items():
        record = {"step": name, "dice": float(values.mean()), "gain": np.nan, "gain_low": np.nan, "gain_high": np.nan}
        if name in before:
            gain = values - dice[before[name]]
            low, high = patient_interval(gain, patients, draws=profile.evaluation.bootstrap, seed=profile.seed)
            record |= {"gain": float(gain.mean()), "gain_low": low, "gain_high": high}
        records.append(record)
    return pd.DataFrame(records)


class Example(NamedTuple):
    """One slice on its way from heatmap to mask; arrays (S, S)."""

    image: np.ndarray
    heatmap: np.ndarray
    steps: dict[str, np.ndarray]
    truth: np.ndarray


def example_steps(study: Study, profile: Profile, rules: pd.DataFrame) -> Example:
    """The test slice in the middle by Dice, of the network and method that did best on validation, by their chosen rule and step."""
    dataset = Dataset(study)
    choice = rules.loc[rules["dice"].idxmax()]
    test = dataset.rows("test")
    positions = np.searchsorted(test, dataset.balanced_rows("test", profile.saliency.test_slices))
    maps = _test_maps(study, choice["architecture"], choice["method"], positions)
    images, truth = np.asarray(dataset.images[test[positions]]), np.asarray(dataset.masks[test[positions]])
    cut = cut_of(choice["rule"], maps, images, profile, chosen=choice["percentile"])
    final = outlined(choice["outline"], _clean(cut, maps, profile), maps, images)
    dice = scores.dice(final, truth)
    middle = int(np.argsort(dice, kind="stable")[len(dice) // 2])
    rule = f"percentile {choice['percentile']}" if choice["rule"] == "validation" else choice["rule"]
    steps = {rule: cut[middle]}
    steps |= refine_steps(cut[middle], maps[middle], opening_radius=profile.masks.opening_radius)
    if choice["outline"] != "none":
        steps[choice["outline"]] = final[middle]
    return Example(images[middle], maps[middle], steps, truth[middle])


def against_baselines(overlap: pd.DataFrame) -> pd.DataFrame:
    """Each method, mean over networks, beside the best map that knows nothing; both at the fixed percentile, all classes."""
    fixed = overlap[(overlap["threshold"] == "fixed") & (overlap["label"] == "all")]
    simple = fixed[fixed["architecture"] == "none"].set_index("method")["dice"]
    best = simple.idxmax()
    records = []
    for method, part in fixed[fixed["architecture"] != "none"].groupby("method"):
        beaten = int((part["dice"] > simple[best]).sum())
        records.append({
            "method": method, "dice": part["dice"].mean(), "best baseline": best, "baseline dice": simple[best],
            "verdict": f"{beaten} of {len(part)} networks beat it",
        })  # fmt: skip
    return pd.DataFrame(records)


class Groups(NamedTuple):
    """Whom scores are averaged over: class and patient of each slice (N,), and the profile that says how intervals are drawn."""

    labels: np.ndarray
    patients: np.ndarray
    profile: Profile


def _scored(architecture, method, rule, heatmaps, masks, truth, groups: Groups) -> Iterator[dict]:
    values = pd.DataFrame({
        "dice": scores.dice(masks, truth), "iou": scores.iou(masks, truth),
        "precision": scores.precision(masks, truth), "recall": scores.recall(masks, truth),
        "pointing": scores.pointing_game(heatmaps, truth), "energy": scores.energy_inside(heatmaps, truth),
    })  # fmt: skip
    for label in (*LABELS, "all"):
        own = np.full(len(values), True) if label == "all" else groups.labels == label
        if own.any():
            part, evaluation = values[own], groups.profile.evaluation
            low, high = patient_interval(part["dice"].to_numpy(), groups.patients[own], draws=evaluation.bootstrap, seed=groups.profile.seed)
            yield {"architecture": architecture, "method": method, "threshold": rule, "label": label, "slices": len(part),
                   **part.mean().to_dict(), "dice_low": low, "dice_high": high}  # fmt: skip


def _clean(masks: np.ndarray, heatmaps: np.ndarray, profile: Profile) -> np.ndarray:
    return refine(masks, heatmaps, opening_radius=profile.masks.opening_radius)


def _test_maps(study: Study, architecture: str, method: str, positions: np.ndarray) -> np.ndarray:
    return np.asarray(np.load(study.heatmaps(architecture, method), mmap_mode="r")[positions], np.float32)


def _pairs(profile: Profile) -> Iterator[tuple[str, str]]:
    for architecture in profile.training.architectures:
        for method in profile.saliency.methods:
            yield architecture, method


def _validation_maps(study: Study, architecture: str, method: str) -> np.ndarray:
    path = study.need(study.heatmaps(architecture, f"validation_{method}"), f"03_saliency of {architecture}")
    return np.load(path).astype(np.float32)
