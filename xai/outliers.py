"""Is this a slice like those a network learned: a head, of the learned look, with a tumour? Three checks, their limits set on validation.

- A head: `xai.atlas.localise` finds a place for it in the template. Its limits were set on real slices and hold for all studies.
- The learned look: the Mahalanobis distance (Lee et al. 2018) of the features that the class head pools, from training slices.
- A tumour: how sure the segmentation head is of its surest pixels.

A network knows three classes and no other: without these checks a cat is a tumour, with a probability.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from scipy.special import expit
from sklearn.covariance import LedoitWolf

from xai.calibration import fit_temperature, tempered
from xai.data.dataset import Dataset, Rows
from xai.data.phantom import make_phantom
from xai.metrics.classification import expected_calibration_error
from xai.network_split import compiled_call
from xai.paths import LABELS, Study, StudyError, atomic
from xai.profiles import Profile

VERSION = 1  # of what is measured; another one measures anew
BATCH = 32
SUREST = 0.005  # share of a slice's pixels whose mask probability is averaged: half of a small tumour
TRAINING_SLICES, OTHER_SLICES = 600, 300  # at most, balanced over classes and patients
# Limits may lose this share of validation slices: between these the tumour's limit is where the fewest tumour-free phantoms pass.
LOSS = (0.01, 0.10)
UNLIKE = 0.99  # share of validation slices within the limit of the distance
LARGEST = 0.99  # share of training slices whose tumour is at most as large as any that is believed in a volume
TUMOUR_FREE = 25  # phantom heads without tumour, three slices each; as many again, others, to measure on
SEEDS = (20_011, 30_013)  # added to the study's, for the heads that limits are chosen and measured on


class Answers(NamedTuple):
    """What a network says of images (N, S, S): logits (N, C), mask probabilities (N, S, S), pooled features (N, K)."""

    logits: np.ndarray
    masks: np.ndarray
    features: np.ndarray


class Reader:
    """Both heads of a hybrid and the features its class head pools, in one compiled pass."""

    def __init__(self, model: keras.Model) -> None:
        outputs = {"logits": model.output["classification"], "masks": model.output["segmentation"], "features": model.get_layer("pooled").output}
        self._call = compiled_call(keras.Model(model.input, outputs))

    def __call__(self, images: np.ndarray) -> Answers:
        parts = []
        for start in range(0, len(images), BATCH):
            found = self._call(keras.ops.convert_to_tensor(np.asarray(images[start : start + BATCH], np.float32)[..., None]))
            parts.append({name: keras.ops.convert_to_numpy(value) for name, value in found.items()})
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return Answers(joined["logits"], expit(joined["masks"][..., 0]), joined["features"])


class Verdict(NamedTuple):
    """What a slice is taken for: `kind` is "ordinary", "no head", "unlike" or "no tumour"; the rest is for readers."""

    kind: str
    title: str
    sentence: str

    @property
    def class_said(self) -> bool:
        """Do the probabilities mean anything? They are those of three tumours, given that there is one."""
        return self.kind == "ordinary"

    @property
    def flags(self) -> list[str]:
        """For the findings."""
        return [] if self.kind == "ordinary" else [self.title]


@dataclass(frozen=True)
class Ordinary:
    """How slices like those learned look to one network.

    Attributes
    ----------
    temperature : float
        Of the class head, fitted on validation.
    limits : dict
        tumour (ordinary above), distance (ordinary below).
    facts : dict
        How temperature and limits were found, and how often they err.
    mean, precision : arrays (K,), (K, K)
        Of the pooled features of training slices.
    """

    temperature: float
    limits: dict[str, float]
    facts: dict[str, float]
    mean: np.ndarray
    precision: np.ndarray

    def scores(self, answers: Answers) -> dict[str, np.ndarray]:
        """tumour and distance of each slice, (N,)."""
        offsets = answers.features - self.mean
        distance = np.sqrt(np.maximum(np.einsum("nk,kl,nl->n", offsets, self.precision, offsets), 0))
        return {"tumour": sureness(answers.masks), "distance": distance}

    def calibration_in_words(self) -> str:
        f = self.facts
        text = f"Calibrated by one temperature, {self.temperature:.2f}, fitted on {f['validation_slices']:.0f} validation slices, which also chose the weights."
        if np.isfinite(f["ece_after"]):
            text += f" Calibration error on {f['test_slices']:.0f} test slices: {f['ece_before']:.3f} before, {f['ece_after']:.3f} after."
        return text

    def limits_in_words(self) -> list[tuple[str, str, str]]:
        return [
            ("tumour", "Mean probability of the segmentation head's surest pixels", f"at least {self.limits['tumour']:.2f}"),
            ("distance", "Distance of the features from those of training slices", f"at most {self.limits['distance']:.1f}"),
        ]

    def rates_in_words(self) -> str:
        f = self.facts
        return (
            f"With these limits {100 * f['lost_test']:.0f} % of {f['test_slices']:.0f} test slices, all with a tumour, were said to show none, and "
            f"{100 * f['unlike_test']:.0f} % to be unlike those learned; of {f['free_slices']:.0f} slices of phantom heads without a tumour, "
            f"{100 * f['caught_free']:.0f} % were said to show none. Whether there is a head is decided by matching the slice with a template."
        )


def sureness(masks: np.ndarray) -> np.ndarray:
    """Mean probability of the share `SUREST` of pixels that the segmentation head is surest of; (N, S, S) -> (N,)."""
    flat = masks.reshape(len(masks), -1)
    count = max(1, round(SUREST * flat.shape[1]))
    return np.partition(flat, -count, axis=1)[:, -count:].mean(axis=1)


def judge(ordinary: Ordinary, scores: dict[str, float], *, is_head: bool) -> Verdict:
    """The verdict on one slice, the gravest doubt first."""
    if not is_head:
        return Verdict("no head", "not a slice of a head", (
            "The picture resembles no axial, coronal or sagittal MRI slice of a head, upright and whole. "
            "It is no such slice, or it lies on its side or upside down; no class and no place is said."
        ))  # fmt: skip
    if scores["distance"] > ordinary.limits["distance"]:
        return Verdict("unlike", "unlike the slices learned", (
            "It may be a head, but to the network it looks unlike nearly all slices it learned: another sequence, another way of showing it, or no MRI. "
            "What follows is what the network would say, and no reason to believe it."
        ))  # fmt: skip
    if scores["tumour"] < ordinary.limits["tumour"]:
        return Verdict("no tumour", "no tumour found", (
            "The segmentation head is less sure of any tumour than on nearly all slices with one. The network knows three tumours and no class without: "
            "what follows holds only if there is one."
        ))  # fmt: skip
    return Verdict("ordinary", "a slice like those learned", "A head with something that the network takes for a tumour, as in the slices it learned.")


def ordinary_of(study: Study, profile: Profile, architecture: str, reader: Reader) -> Ordinary:
    """What is ordinary for a network of a study; measured once and kept in the study, beside the weights."""
    path, mark = study.ordinary(architecture), _fingerprint(study, architecture)
    kept = _load(path, mark)
    if kept is not None:
        return kept
    print(f"measuring what slices like those it learned look like to {architecture}, once for these weights", file=sys.stderr, flush=True)
    found = measure(study, profile, reader)
    try:
        with atomic(path) as temporary:
            np.savez_compressed(temporary, mean=found.mean, precision=found.precision, told=json.dumps(
                {"mark": mark, "temperature": found.temperature, "limits": found.limits, "facts": found.facts}
            ))  # fmt: skip
    except PermissionError:  # a study that may only be read is measured anew each time
        pass
    return found


def measure(study: Study, profile: Profile, reader: Reader) -> Ordinary:
    """Temperature, features and limits of a network, and how often the limits err on slices that had no part in them."""
    dataset = Dataset(study)
    rows = {split: dataset.balanced_rows(split, count)
            for split, count in (("train", TRAINING_SLICES), ("validation", OTHER_SLICES), ("test", OTHER_SLICES))}  # fmt: skip
    answers = {split: reader(Rows(dataset.images, some)) for split, some in rows.items()}
    if not all(np.isfinite(answer.features).all() and np.isfinite(answer.logits).all() for answer in answers.values()):
        raise StudyError(f"The network answers with numbers that are not finite, so its training in {study.root} diverged; train it again at a lower rate.")
    temperature = fit_temperature(answers["validation"].logits, dataset.labels(rows["validation"]))
    features = answers["train"].features.astype(np.float64)
    spread = LedoitWolf().fit(features)  # shrunk: there are hardly more slices than features
    bare = Ordinary(temperature, {}, {}, spread.location_, spread.precision_)
    scores = {split: bare.scores(answers[split]) for split in ("validation", "test")}
    free = [bare.scores(reader(tumour_free(profile, seed)))["tumour"] for seed in SEEDS]
    limits = {
        "tumour": tumour_limit(scores["validation"]["tumour"], free[0]),
        "distance": float(np.quantile(scores["validation"]["distance"], UNLIKE)),
    }
    drawn = Rows(dataset.masks, rows["train"])
    areas = np.concatenate([drawn[slice(start, start + BATCH)].mean(axis=(1, 2)) for start in range(0, len(drawn), BATCH)])
    facts = _calibration_facts(dataset, rows["test"], answers["test"], temperature) | {
        "largest_area": float(np.quantile(areas, LARGEST)),
        "validation_slices": len(rows["validation"]), "test_slices": len(rows["test"]), "free_slices": len(free[1]),
        "lost_test": float((scores["test"]["tumour"] < limits["tumour"]).mean()),
        "unlike_test": float((scores["test"]["distance"] > limits["distance"]).mean()),
        "caught_free": float((free[1] < limits["tumour"]).mean()),
    }  # fmt: skip
    return Ordinary(temperature, limits, facts, spread.location_, spread.precision_)


def tumour_limit(with_tumour: np.ndarray, without: np.ndarray) -> float:
    """The limit with the fewest errors, shares of both kinds added, of those that lose 1 to 10 % of the slices with a tumour."""
    candidates = np.quantile(with_tumour, np.linspace(*LOSS, 19))
    errors = [(with_tumour < limit).mean() + (without >= limit).mean() for limit in candidates]
    return float(candidates[int(np.argmin(errors))])


def tumour_free(profile: Profile, seed: int) -> np.ndarray:
    """Slices (N, S, S) of phantom heads without a tumour, in three planes; other heads than those of the study."""
    heads = make_phantom(
        subjects=0, tumour_free=TUMOUR_FREE, slices_per_subject=3, image_size=profile.data.image_size, seed=profile.seed + seed
    )
    return np.stack([item.image for item in heads])


def _calibration_facts(dataset: Dataset, rows: np.ndarray, answers: Answers, temperature: float) -> dict[str, float]:
    """Calibration error on test slices without and with the temperature."""
    facts = {}
    for name, value in (("ece_before", 1.0), ("ece_after", temperature)):
        table = dataset.index.loc[rows, ["id", "label", "patient"]].reset_index(drop=True)
        table[[f"prob_{label}" for label in LABELS]] = tempered(answers.logits, value)
        facts[name] = expected_calibration_error(table)
    return facts


def _load(path: Path, mark: str) -> Ordinary | None:
    try:
        with np.load(path) as file:
            told = json.loads(str(file["told"]))
            if told.pop("mark") != mark:
                return None
            return Ordinary(**told, mean=file["mean"], precision=file["precision"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _fingerprint(study: Study, architecture: str) -> str:
    """SHA-256 of the weights, and the version of this measurement: all that decides it, so that weights may travel with it and without slices."""
    with study.weights(architecture).open("rb") as file:
        return f"{VERSION}-{hashlib.file_digest(file, 'sha256').hexdigest()}"
