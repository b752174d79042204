"""What a split by slice pretends: one network trained twice on equally many slices, judged on the same; only the company differs.

Half of every test patient's slices, drawn once, are the evaluation slices. Under ``by_patient`` the network learns from the
training patients alone. Under ``by_slice`` it learns from as many slices of each class, drawn from the training patients and the
other half of the test patients' slices together, as a split by slice would deal them. Validation is the same for both, by patient.

Each training is a small study of its own below ``leakage/``, whose arrays are hard links to the study's.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from xai.data.dataset import lay_out_beside, read_index
from xai.metrics.intervals import means_with_intervals
from xai.paths import LABELS, Study, StudyError
from xai.profiles import Profile
from xai.scores import learn, slice_scores

CONDITIONS = ("by_patient", "by_slice")
UNUSED = "unused"  # the split of slices that a condition leaves out
EXAMPLE_SEED = 3


def evaluation_rows(index: pd.DataFrame, *, seed: int) -> np.ndarray:
    """Rows of the evaluation slices: a random half of each test patient's slices, the larger one of an odd number.

    Returns
    -------
    array of int
        Ascending; never empty for a patient with a test slice. A patient with one slice gives it and has no sibling left.
    """
    generator = np.random.default_rng([seed, 0])
    chosen = []
    for _, rows in _rows_by_patient(index, "test"):
        chosen.append(generator.permutation(rows)[: (len(rows) + 1) // 2])
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, int)


def condition_splits(index: pd.DataFrame, condition: str, *, evaluation: np.ndarray, seed: int) -> np.ndarray:
    """The split of every slice under a condition.

    Parameters
    ----------
    index : DataFrame
        Columns label, patient, split, one row per slice.
    condition : {"by_patient", "by_slice"}
        Who may be in training, see the module's head. Both give training the same number of slices of each class.
    evaluation : array of int
        Of `evaluation_rows`; they become the test split.
    seed : int
        Seed of the draw under ``by_slice``.

    Returns
    -------
    array of str (N,)
        train, validation, test or unused.
    """
    split, label = index["split"].to_numpy(), index["label"].to_numpy()
    result = np.full(len(index), UNUSED, dtype=object)
    result[split == "validation"] = "validation"
    result[evaluation] = "test"
    if condition == "by_patient":
        result[split == "train"] = "train"
        return result
    siblings = split == "test"
    siblings[evaluation] = False
    generator = np.random.default_rng([seed, 1])
    for name in LABELS:
        pool = np.flatnonzero(((split == "train") | siblings) & (label == name))
        wanted = int(((split == "train") & (label == name)).sum())
        result[generator.permutation(pool)[:wanted]] = "train"
    return result


def design_example() -> tuple[list[str], dict[str, np.ndarray]]:
    """Six patients with four slices each, dealt as the study's own: for a drawing of the design.

    Returns
    -------
    groups, splits
        The split of each patient (6,), and for each condition the split of every slice, (6, 4).
    """
    groups = ["train", "train", "train", "validation", "test", "test"]
    slices = [(number, group, LABELS[0]) for number, group in enumerate(groups) for _ in range(4)]
    index = pd.DataFrame(slices, columns=["patient", "split", "label"])
    evaluation = evaluation_rows(index, seed=EXAMPLE_SEED)
    deal = {condition: condition_splits(index, condition, evaluation=evaluation, seed=EXAMPLE_SEED) for condition in CONDITIONS}
    return groups, {condition: splits.reshape(len(groups), 4) for condition, splits in deal.items()}


def seeds_of(profile: Profile) -> list[int]:
    """The profile's seed and those that follow it, as many as the demonstration asks for."""
    return [profile.seed + number for number in range(profile.training.leakage.seeds)]


def condition_study(study: Study, condition: str, seed: int) -> Study:
    """The small study of one training."""
    return Study(study.root / "leakage" / f"{condition}_{seed}")


def prepare_condition(study: Study, profile: Profile, condition: str, seed: int) -> Study:
    """Lay out the small study of one training: linked arrays, and an index whose splits are those of the condition."""
    target = condition_study(study, condition, seed)
    index = read_index(study)
    index["split"] = condition_splits(index, condition, evaluation=evaluation_rows(index, seed=profile.seed), seed=seed)
    return lay_out_beside(study, target, index)


def run_leakage(study: Study, profile: Profile) -> None:
    """Train and predict every condition with every seed; what is finished is not repeated, what was killed goes on.

    Raises
    ------
    StudyError
        The demonstration is off in this profile, or a test patient has no second slice.
    """
    architecture = _architecture(profile)
    _check_siblings(study, profile)
    for seed in seeds_of(profile):
        for condition in CONDITIONS:
            target = prepare_condition(study, profile, condition, seed)
            own = _own_profile(profile, seed)
            print(f"{condition}, seed {seed}", flush=True)
            learn(target, own, architecture)


def company_table(study: Study, profile: Profile) -> pd.DataFrame:
    """Who is in training with whom; a row per training, columns as readers see them; nothing needs to be trained for it."""
    rows = []
    for seed in seeds_of(profile):
        for condition in CONDITIONS:
            index = read_index(condition_study(study, condition, seed), made_by="02_leakage")
            train, test = index[index["split"] == "train"], index[index["split"] == "test"]
            sibling = test["patient"].isin(set(train["patient"]))
            rows.append({
                "condition": condition, "seed": str(seed), "training slices": len(train),
                "of evaluation patients": int(train["patient"].isin(set(test["patient"])).sum()),
                "evaluation slices": len(test), "patients": test["patient"].nunique(),
                "with a sibling in training %": 100 * float(sibling.mean()),
            })  # fmt: skip
    return pd.DataFrame(rows)


def leakage_table(study: Study, profile: Profile) -> pd.DataFrame:
    """Score every training on the evaluation slices; ``leakage.csv``.

    Returns
    -------
    DataFrame
        ``condition, seed, slices, patients``; ``accuracy`` and ``dice`` of the mask head (mean over slices), each with its 95 %
        interval by bootstrap over patients, ``_low`` and ``_high``.
    """
    rows = []
    for (condition, seed), slices in _slice_scores(study, profile).groupby(["condition", "seed"], sort=False):
        row = {"condition": condition, "seed": str(seed), "slices": len(slices), "patients": slices["patient"].nunique()}
        rows.append(row | means_with_intervals(slices, ("accuracy", "dice"), draws=profile.evaluation.bootstrap, seed=profile.seed))
    return pd.DataFrame(rows)


def leakage_gap(study: Study, profile: Profile) -> pd.DataFrame:
    """What the company of siblings adds: by_slice minus by_patient, paired by slice and averaged over seeds; ``leakage_gap.csv``.

    The interval resamples patients with all their slices. It does not hold the luck of the seeds, which the table by seed shows.

    Returns
    -------
    DataFrame
        ``measure`` (accuracy, dice), ``by_patient, by_slice`` (means over slices and seeds), ``gap, gap_low, gap_high``.
    """
    scores = _slice_scores(study, profile)
    # One row per slice and condition: the mean over seeds.
    means = scores.groupby(["id", "patient", "condition"])[["accuracy", "dice"]].mean().unstack("condition")
    rows = []
    for measure in ("accuracy", "dice"):
        both = means[measure]
        paired = (both["by_slice"] - both["by_patient"]).rename("gap").reset_index()
        row = {"measure": measure, **{condition: float(both[condition].mean()) for condition in CONDITIONS}}
        rows.append(row | means_with_intervals(paired, ("gap",), draws=profile.evaluation.bootstrap, seed=profile.seed))
    return pd.DataFrame(rows)


def _slice_scores(study: Study, profile: Profile) -> pd.DataFrame:
    """condition, seed, id, patient, accuracy (0 or 1) and dice of every evaluation slice under every training."""
    architecture = _architecture(profile)
    parts = []
    for seed in seeds_of(profile):
        for condition in CONDITIONS:
            target = condition_study(study, condition, seed)
            parts.append(slice_scores(target, architecture, made_by="02_leakage").assign(condition=condition, seed=seed))
    return pd.concat(parts, ignore_index=True)


def _architecture(profile: Profile) -> str:
    architecture = profile.training.leakage.architecture
    if architecture is None:
        raise StudyError(
            "The leakage demonstration is off: `training.leakage.architecture` is null in the profile, expected the name of a network, "
            "for example efficientnetb0."
        )
    return architecture


def _own_profile(profile: Profile, seed: int) -> Profile:
    """The profile of one training: its own seed, and the epochs of the demonstration where it has them."""
    epochs = profile.training.leakage.epochs or profile.training.epochs
    return profile.model_copy(update={"seed": seed, "training": profile.training.model_copy(update={"epochs": epochs})})


def _check_siblings(study: Study, profile: Profile) -> None:
    index = read_index(study)
    test = index[index["split"] == "test"]
    if not test["patient"].duplicated().any():
        raise StudyError(
            f"{study.index} has {len(test)} test patients with one slice each, expected some with two or more; a split by slice leaks "
            "nothing here: set `training.leakage.architecture` to null."
        )


def _rows_by_patient(index: pd.DataFrame, split: str) -> list[tuple[str, np.ndarray]]:
    """(patient, row numbers) of a split, in order of the patients' names, so that the order of rows decides nothing else."""
    rows = np.flatnonzero((index["split"] == split).to_numpy())
    patients = index["patient"].to_numpy()[rows]
    return [(name, rows[patients == name]) for name in sorted(set(patients))]
