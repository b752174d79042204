"""Chapter 3's tests of the explanations: faithfulness, randomised weights, and stability under small changes."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
from keras import ops
from tqdm.auto import tqdm

from xai.data.dataset import Dataset
from xai.explaining import load_heatmaps, split_of
from xai.metrics.faithfulness import information_curves, insertion_deletion, rank_similarity
from xai.metrics.overlap import baselines
from xai.metrics.stability import stability as map_stability
from xai.paths import Study, atomic
from xai.profiles import Profile
from xai.saliency import Split, explain, methods_for, randomise_from_top

BASELINES = ("random", "centre", "intensity")  # for faithfulness; overlap is measured against all five


def faithfulness(study: Study, profile: Profile, architecture: str, split: Split) -> tuple[pd.DataFrame, dict]:
    """Insertion, deletion, AIC and SIC of the methods and of maps that know nothing, on the same few slices.

    Returns
    -------
    DataFrame
        architecture, method, slices, insertion, deletion, aic, sic (areas).
    dict
        method -> curve name -> (x, y) of the mean (insertion, deletion) or median (aic, sic) curve.
    """
    dataset = Dataset(study)
    rows = np.intersect1d(
        dataset.balanced_rows("test", profile.saliency.faithfulness_slices), dataset.balanced_rows("test", profile.saliency.test_slices)
    )
    positions = np.searchsorted(dataset.rows("test"), rows)
    images = np.asarray(dataset.images[rows], np.float32)
    heatmaps = load_heatmaps(study, architecture, profile.saliency.methods, positions)
    simple = baselines(images, np.asarray(dataset.masks[dataset.rows("train")]), seed=profile.seed)
    heatmaps |= {name: simple[name] for name in BASELINES}

    def predict(batch: np.ndarray) -> np.ndarray:
        return ops.convert_to_numpy(ops.softmax(split.logits(batch), axis=-1))

    classes = predict(images).argmax(axis=1)
    records, curves = [], {}
    for name, maps in tqdm(heatmaps.items(), desc="faithfulness", unit="method"):
        steps = insertion_deletion(predict, images, maps, classes, steps=profile.saliency.faithfulness_steps, seed=profile.seed)
        bits = information_curves(predict, images, maps, classes, seed=profile.seed)
        records.append({
            "architecture": architecture, "method": name, "slices": len(rows),
            "insertion": steps.insertion_auc.mean(), "deletion": steps.deletion_auc.mean(),
            "aic": bits.aic_auc, "sic": bits.sic_auc, "aic_slices": bits.aic_images, "sic_slices": bits.sic_images,
        })  # fmt: skip
        curves[name] = {
            "insertion": (steps.x, steps.insertion.mean(axis=0)), "deletion": (steps.x, steps.deletion.mean(axis=0)),
            "sic": (bits.x, bits.sic), "aic": (bits.x, bits.aic),
        }  # fmt: skip
    table = pd.DataFrame(records)
    with atomic(study.saliency_table(architecture, "faithfulness")) as temporary:
        table.to_csv(temporary, index=False)
    return table, curves


def sanity(study: Study, profile: Profile, architecture: str, model: keras.Model) -> pd.DataFrame:
    """Likeness of heatmaps to those of the trained network while its layers are randomised from the top.

    Score-CAM is left out unless it is the only method: it needs one forward pass per channel at every stage. The class explained
    stays that of the trained network.
    The model's weights are changed in place and put back.

    Returns
    -------
    DataFrame
        architecture, method, layer_fraction, similarity (Spearman rank correlation); one row per slice and stage.
    """
    dataset = Dataset(study)
    images = np.asarray(dataset.images[dataset.balanced_rows("test", profile.saliency.sanity_slices)], np.float32)
    split = split_of(profile, architecture, model)
    methods = _quick_methods(split, profile)
    classes = split.logits(images).argmax(axis=1)
    trained = model.get_weights()
    original = _all_maps(methods, images, classes)
    records = []
    try:
        for share in tqdm(np.linspace(0, 1, profile.saliency.sanity_stages), desc="randomising", unit="stage"):
            model.set_weights(trained)
            randomise_from_top(model, float(share), seed=profile.seed)
            for name, maps in _all_maps(methods, images, classes).items():
                # A constant map has no ranks; it is not alike.
                similarity = np.nan_to_num(rank_similarity(original[name], maps))
                records += [{"architecture": architecture, "method": name, "layer_fraction": float(share), "similarity": float(value)}
                            for value in similarity]  # fmt: skip
    finally:
        model.set_weights(trained)
    table = pd.DataFrame(records)
    with atomic(study.saliency_table(architecture, "sanity")) as temporary:
        table.to_csv(temporary, index=False)
    return table


def stability(study: Study, profile: Profile, architecture: str, split: Split) -> pd.DataFrame:
    """Likeness of heatmaps before and after small changes of the slice, for the methods and for two maps that know no network.

    The class explained stays that of the unchanged slice. Score-CAM is left out unless it is the only method.

    Returns
    -------
    DataFrame
        architecture, method, change, similarity (Spearman rank correlation); one row per slice.
    """
    dataset = Dataset(study)
    images = np.asarray(dataset.images[dataset.balanced_rows("test", profile.saliency.sanity_slices)], np.float32)
    methods = _quick_methods(split, profile)
    classes = split.logits(images).argmax(axis=1)
    simple = baselines(images, np.asarray(dataset.masks[dataset.rows("train")]), seed=profile.seed)

    def maps_of(pictures: np.ndarray) -> dict[str, np.ndarray]:
        return _all_maps(methods, pictures, classes) | {"intensity": pictures, "centre": simple["centre"]}

    records = [
        {"architecture": architecture, "method": method, "change": change, "similarity": float(value)}
        for (method, change), values in map_stability(maps_of, images, seed=profile.seed).items() for value in values
    ]  # fmt: skip
    table = pd.DataFrame(records)
    with atomic(study.saliency_table(architecture, "stability")) as temporary:
        table.to_csv(temporary, index=False)
    return table


def _quick_methods(split: Split, profile: Profile):
    """The profile's methods without Score-CAM, which needs one forward pass per channel, unless it is the only one."""
    quick = [name for name in profile.saliency.methods if name != "scorecam"]
    return methods_for(split, quick or profile.saliency.methods, scorecam_channels=profile.saliency.scorecam_channels)


def _all_maps(methods, images: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
    parts = [maps for _, maps in explain(methods, images, classes=classes)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
