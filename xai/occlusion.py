"""What a network's answer loses when a piece of the slice is painted over: masks that need neither gradients nor drawn tumours.

Occlusion (Zeiler & Fergus 2014) by pieces that the slice itself suggests (`xai.pieces`) instead of a sliding square, as XRAI (Kapishnikov et
al. 2019) ranks pieces by integrated gradients. It is held against what the slice alone says: a piece may stand out without any network.
"""

from __future__ import annotations

from typing import Callable

import numpy as np
import pandas as pd
from scipy import ndimage
from tqdm.auto import tqdm

from xai.data.dataset import Dataset
from xai.kept import kept_table
from xai.metrics import overlap
from xai.metrics.intervals import patient_interval
from xai.paths import Study
from xai.pieces import pieces, prominence, without
from xai.profiles import Profile
from xai.shown import cases_to_show

WAYS = ("image", "network", "both")  # what ranks the pieces: prominence; change of the answer; prominence times a power of the change
POWER = 0.25  # of the change in "both"; among 1, 1/2 and 1/4 the best on validation slices
VARIANTS = ("hybrid", "two_heads", "classification_only")  # those with a class to explain
CHUNK = 16  # painted slices in memory at once


def changes(logits_of: Callable[[np.ndarray], np.ndarray], image: np.ndarray, found: np.ndarray) -> np.ndarray:
    """How far the answer moves without each piece: the sum over classes of |logit of the slice - logit without the piece|.

    All classes count, not one: what a tumour is painted over for can raise another class as well as lower the first.

    Parameters
    ----------
    logits_of : callable
        Images (B, S, S) -> logits (B, C), as `Split.logits`.
    image : (S, S)
        Grey values 0-255.
    found : (P, S, S) bool
        Of `xai.pieces.pieces`.

    Returns
    -------
    (P,) float
    """
    image = np.asarray(image, np.float32)
    whole, moved = logits_of(image[None])[0], np.zeros(len(found))
    buffer = np.zeros((CHUNK, *image.shape), np.float32)
    for start in range(0, len(found), CHUNK):
        part = found[start : start + CHUNK]
        for slot, piece in zip(buffer, part):
            slot[...] = without(image, piece)
        # The last, shorter chunk goes in full: another shape would be compiled anew on JAX.
        moved[start : start + len(part)] = np.abs(logits_of(buffer)[: len(part)] - whole).sum(axis=1)
    return moved


def rank(logits_of: Callable[[np.ndarray], np.ndarray], image: np.ndarray, found: np.ndarray) -> dict[str, np.ndarray]:
    """Scores (P,) of the pieces of one slice by each of `WAYS`."""
    image_alone, network = prominence(image, found), changes(logits_of, image, found)
    return {"image": image_alone, "network": network, "both": image_alone * network**POWER}


def heatmap(scores: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The best score of the pieces that hold a pixel, over the best of all; (S, S) float32 in [0, 1]."""
    highest = np.zeros(found.shape[1:], np.float32)
    for score, piece in zip(scores, found):
        highest[piece] = np.maximum(highest[piece], score)
    return highest / max(float(highest.max()), 1e-12)


def overlap_of(study: Study, profile: Profile, architecture: str, variant: str) -> pd.DataFrame:
    """How well the best piece outlines the tumour, for the explained test slices of one trained network; kept beside its weights.

    No drawn tumour has a say: no threshold is chosen, and a slice without pieces scores zero.

    Returns
    -------
    DataFrame
        id, patient, and for each of `WAYS` <way>_dice and <way>_pointing (is the innermost pixel of the piece in the tumour?); ``best_dice``
        that of the piece with the highest Dice, an upper bound.
    """
    return kept_table(
        study, architecture, variant, "occlusion.csv", lambda: _painted(study, profile, architecture, variant),
        knobs=profile.saliency.model_dump(include={"test_slices"}), modules=("occlusion.py", "pieces.py", "masks.py", "models.py", "metrics/overlap.py"),
    )  # fmt: skip


def _painted(study: Study, profile: Profile, architecture: str, variant: str) -> pd.DataFrame:
    dataset = Dataset(study)
    rows = dataset.balanced_rows("test", profile.saliency.test_slices)
    logits_of = _network(study, profile, architecture, variant).logits
    records = []
    for row in tqdm(rows, desc=f"painting over, {architecture} {variant}", unit="slice"):
        image, truth = np.asarray(dataset.images[row]), np.asarray(dataset.masks[row]) > 0
        found = pieces(image)
        record = {"best_dice": float(_dice(found, truth).max(initial=0))}
        for way, scores in rank(logits_of, image, found).items():
            piece = found[int(np.argmax(scores))] if len(found) else np.zeros(image.shape, bool)
            depth = ndimage.distance_transform_edt(piece)
            record |= {f"{way}_dice": float(_dice(piece[None], truth)[0]), f"{way}_pointing": float(truth.flat[int(depth.argmax())] and piece.any())}
        records.append(record)
    return dataset.index.loc[rows, ["id", "patient"]].reset_index(drop=True).join(pd.DataFrame(records))


def summary(study: Study, profile: Profile) -> pd.DataFrame:
    """All ablated networks: mean Dice and pointing by variant and way, and what the network adds to the image alone.

    Runs of the study's own seed alone: a slice costs a forward pass for each of its pieces.

    Returns
    -------
    DataFrame
        architecture, variant, chosen_by ("pieces_" and one of `WAYS`, or "pieces_best": the oracle), slices, dice, pointing, gain (Dice minus
        that of the image alone, paired by slice), each with ``_low`` and ``_high`` over patients.
    """
    records = []
    for architecture in profile.training.ablation:
        for variant in variants_of(profile):
            scores = overlap_of(study, profile, architecture, variant)
            for way in (*WAYS, "best"):
                record = {"architecture": architecture, "variant": variant, "chosen_by": f"pieces_{way}", "slices": len(scores)}
                values = {"dice": scores[f"{way}_dice"], "gain": scores[f"{way}_dice"] - scores["image_dice"], "pointing": scores.get(f"{way}_pointing")}
                for name, column in values.items():
                    if column is not None and not (name == "gain" and way == "image"):
                        low, high = patient_interval(column.to_numpy(float), scores["patient"].to_numpy(), draws=profile.evaluation.bootstrap, seed=profile.seed)
                        record |= {name: float(column.mean()), f"{name}_low": low, f"{name}_high": high}
                records.append(record)
    columns = [f"{name}{end}" for name in ("dice", "pointing", "gain") for end in ("", "_low", "_high")]
    return pd.DataFrame(records, columns=["architecture", "variant", "chosen_by", "slices", *columns])


def in_short(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `summary` for reading: what needs no network, the image alone and the oracle, once for each architecture, as variant "any"."""
    shared = table["chosen_by"].isin(["pieces_image", "pieces_best"])
    once = table[shared].drop_duplicates(["architecture", "chosen_by"]).assign(variant="any")
    return pd.concat([once, table[~shared]]).sort_values("architecture", kind="stable", ignore_index=True)


def variants_of(profile: Profile) -> list[str]:
    """Ablated variants with a class to explain; the class head alone, where it is among them, is the last."""
    return [variant for variant in VARIANTS if variant in profile.training.ablation_variants]


def examples(study: Study, profile: Profile) -> dict | None:
    """One test slice for each class under the first ablated network, with the class head alone where there is one, for looking at.

    Returns
    -------
    dict, or None where no network is ablated
        What `xai.plots.plot_cam_grid` draws: images and masks (n, S, S); heatmaps (n, S, S) in [0, 1] by "gradcam" and "pieces_<way>" for
        each of `WAYS`; titles, the class of each slice.
    """
    from xai.saliency import explain, methods_for

    if not profile.training.ablation:
        return None
    architecture, variant = profile.training.ablation[0], variants_of(profile)[-1]
    dataset = Dataset(study)
    rows = dataset.rows("test")[cases_to_show(study, profile)]
    split = _network(study, profile, architecture, variant)
    images = np.asarray(dataset.images[rows], np.float32)
    maps = {"gradcam": np.concatenate([found["gradcam"] for _, found in explain(methods_for(split, ("gradcam",)), images)])}
    for image in images:
        found = pieces(image)
        for way, scores in rank(split.logits, image, found).items():
            maps.setdefault(f"pieces_{way}", []).append(heatmap(scores, found))
    heatmaps = {name: np.stack(list(values)) for name, values in maps.items()}
    return {"images": images, "masks": np.asarray(dataset.masks[rows]), "heatmaps": heatmaps, "titles": list(dataset.index["label"].iloc[rows])}


def _network(study: Study, profile: Profile, architecture: str, variant: str):
    from xai.saliency import Split
    from xai.training import load

    return Split(load(study, profile, architecture, variant=variant), minimum_grid=profile.saliency.minimum_grid)


def _dice(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return overlap.dice(found, np.broadcast_to(truth, found.shape)) if len(found) else np.zeros(0)

