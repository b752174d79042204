"""Chapter 4's work: choose thresholds on validation, turn every heatmap of a study into a mask, and score all of it."""

from __future__ import annotations

import json
from typing import Iterator, NamedTuple

import numpy as np
import pandas as pd

from xai.data.dataset import Dataset
from xai.masks import RULES, adaptive_percentiles, otsu, refine, refine_steps, threshold
from xai.metrics import overlap as scores
from xai.paths import LABELS, Study, atomic, write_text
from xai.profiles import Profile

LABEL_FREE = ("fixed", "validation", "adaptive", "otsu")  # rules that never see the test masks


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
        maps = _validation_maps(study, architecture, method)
        for percentile in percentiles(profile):
            masks = refine(threshold(maps, percentile), maps, opening_radius=profile.masks.opening_radius)
            dice = float(scores.dice(masks, truth).mean())
            records.append({"architecture": architecture, "method": method, "percentile": int(percentile), "dice": dice})
    return pd.DataFrame(records)


def masks_of(
    rule: str, heatmaps: np.ndarray, images: np.ndarray, profile: Profile, *, chosen: float, truth: np.ndarray | None = None
) -> np.ndarray:
    """Cleaned masks of heatmaps by one rule of `xai.masks.RULES`.

    Parameters
    ----------
    heatmaps, images : (N, S, S)
    chosen : float
        The percentile chosen on validation.
    truth : (N, S, S), for the oracle only
        The oracle takes for each slice the percentile with the best Dice against its own truth: an upper bound and no result.
    """
    clean = {"opening_radius": profile.masks.opening_radius}
    candidates = percentiles(profile)
    if rule == "otsu":
        return refine(otsu(heatmaps), heatmaps, **clean)
    if rule == "oracle":
        options = np.stack([refine(threshold(heatmaps, p), heatmaps, **clean) for p in candidates])
        best = np.argmax(np.stack([scores.dice(option, truth) for option in options]), axis=0)
        return options[best, np.arange(len(heatmaps))]
    level = {"fixed": profile.masks.fixed_percentile, "validation": chosen}.get(rule)
    if rule == "adaptive":
        level = adaptive_percentiles(heatmaps, images, candidates)
    return refine(threshold(heatmaps, level), heatmaps, **clean)


def choose_rules(study: Study, profile: Profile, curves: pd.DataFrame) -> pd.DataFrame:
    """For each network and method the label-free rule with the best mean Dice on validation.

    Returns
    -------
    DataFrame
        architecture, method, percentile (chosen on validation), rule, and the validation Dice of each label-free rule.
    """
    dataset = Dataset(study)
    rows = dataset.balanced_rows("validation", profile.saliency.validation_slices)
    images, truth = np.asarray(dataset.images[rows]), np.asarray(dataset.masks[rows])
    records = []
    for architecture, method in _pairs(profile):
        part = curves[(curves["architecture"] == architecture) & (curves["method"] == method)]
        chosen = int(part.loc[part["dice"].idxmax(), "percentile"])
        maps = _validation_maps(study, architecture, method)
        dice = {
            rule: float(scores.dice(masks_of(rule, maps, images, profile, chosen=chosen), truth).mean())
            for rule in LABEL_FREE
        }
        records.append({"architecture": architecture, "method": method, "percentile": chosen, "rule": max(dice, key=dice.get), **dice})
    return pd.DataFrame(records)


def mask_study(study: Study, profile: Profile, rules: pd.DataFrame) -> pd.DataFrame:
    """Write the masks of the chosen rule for every network and method, and score every rule on the test slices.

    ``masks/<architecture>/<method>.npy`` is uint8 (N_test, S, S); ``<method>.json`` beside it names the rule.

    Returns
    -------
    DataFrame
        Table T5: architecture, method, threshold, label, slices, dice, iou, precision, recall, pointing, energy. Maps that know
        nothing of the network stand in it as methods of the architecture "none".
    """
    dataset = Dataset(study)
    test = dataset.rows("test")
    positions = np.searchsorted(test, dataset.balanced_rows("test", profile.saliency.test_slices))
    rows = test[positions]
    images, truth = np.asarray(dataset.images[rows]), np.asarray(dataset.masks[rows])
    labels = dataset.index["label"].to_numpy()[rows]
    records: list[dict] = []
    for choice in rules.itertuples():
        maps = np.asarray(np.load(study.heatmaps(choice.architecture, choice.method), mmap_mode="r")[positions], np.float32)
        for rule in RULES:
            masks = masks_of(rule, maps, images, profile, chosen=choice.percentile, truth=truth)
            records += _scored(choice.architecture, choice.method, rule, maps, masks, truth, labels)
            if rule == choice.rule:
                whole = np.zeros((len(test), *masks.shape[1:]), np.uint8)
                whole[positions] = masks
                path = study.cam_masks(choice.architecture, choice.method)
                with atomic(path) as temporary:
                    np.save(temporary, whole)
                write_text(path.with_suffix(".json"), json.dumps({"rule": rule, "percentile": choice.percentile}))
    simple = scores.baselines(images, np.asarray(dataset.masks[dataset.rows("train")]), seed=profile.seed)
    for name, maps in simple.items():
        for rule in ("fixed", "oracle"):
            masks = masks_of(rule, maps, images, profile, chosen=profile.masks.fixed_percentile, truth=truth)
            records += _scored("none", name, rule, maps, masks, truth, labels)
    return pd.DataFrame(records)


class Example(NamedTuple):
    """One slice on its way from heatmap to mask; arrays (S, S)."""

    image: np.ndarray
    heatmap: np.ndarray
    steps: dict[str, np.ndarray]
    truth: np.ndarray


def example_steps(study: Study, profile: Profile, rules: pd.DataFrame) -> Example:
    """The test slice in the middle by Dice, of the network and method that did best on validation, cut at its chosen percentile."""
    dataset = Dataset(study)
    choice = rules.loc[rules["validation"].idxmax()]
    test = dataset.rows("test")
    positions = np.searchsorted(test, dataset.balanced_rows("test", profile.saliency.test_slices))
    maps = np.asarray(np.load(study.heatmaps(choice["architecture"], choice["method"]), mmap_mode="r")[positions], np.float32)
    truth = np.asarray(dataset.masks[test[positions]])
    cut = threshold(maps, choice["percentile"])
    dice = scores.dice(refine(cut, maps, opening_radius=profile.masks.opening_radius), truth)
    middle = int(np.argsort(dice, kind="stable")[len(dice) // 2])
    steps = {f"percentile {choice['percentile']}": cut[middle]}
    steps |= refine_steps(cut[middle], maps[middle], opening_radius=profile.masks.opening_radius)
    return Example(np.asarray(dataset.images[test[positions[middle]]]), maps[middle], steps, truth[middle])


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


def _scored(architecture, method, rule, heatmaps, masks, truth, labels) -> Iterator[dict]:
    values = pd.DataFrame({
        "dice": scores.dice(masks, truth), "iou": scores.iou(masks, truth),
        "precision": scores.precision(masks, truth), "recall": scores.recall(masks, truth),
        "pointing": scores.pointing_game(heatmaps, truth), "energy": scores.energy_inside(heatmaps, truth),
    })  # fmt: skip
    for label in (*LABELS, "all"):
        part = values if label == "all" else values[labels == label]
        if len(part):
            yield {"architecture": architecture, "method": method, "threshold": rule, "label": label, "slices": len(part),
                   **part.mean().to_dict()}  # fmt: skip


def _pairs(profile: Profile) -> Iterator[tuple[str, str]]:
    for architecture in profile.training.architectures:
        for method in profile.saliency.methods:
            yield architecture, method


def _validation_maps(study: Study, architecture: str, method: str) -> np.ndarray:
    path = study.need(study.heatmaps(architecture, f"validation_{method}"), f"03_saliency of {architecture}")
    return np.load(path).astype(np.float32)
