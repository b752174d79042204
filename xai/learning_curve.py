"""Would more patients help? One network trained on growing shares of the training patients, judged on the same test slices.

Shares are nested: the patients of a smaller one are in every larger one. Every training takes about as many steps, so that a smaller
share is not also a shorter training. Each is a small study of its own below ``curve/``, whose arrays are hard links to the study's; the
whole share is the study's own training.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from xai.data.dataset import Dataset, lay_out_beside, read_index
from xai.metrics.intervals import means_with_intervals
from xai.paths import LABELS, Study, StudyError
from xai.profiles import Profile
from xai.scores import learn, slice_scores


def shares_of(profile: Profile) -> list[float]:
    """The shares of the profile, ascending, and the whole."""
    return [*sorted(set(profile.training.curve.shares)), 1.0]


def patients_of_share(index: pd.DataFrame, share: float, *, seed: int) -> list[str]:
    """Training patients of a share: of each class the first ones in a seeded order, rounded up, so that no class is lost.

    Parameters
    ----------
    index : DataFrame
        Columns label, patient, split.
    share : float in (0, 1]
    """
    train = index[index["split"] == "train"]
    label = train.groupby("patient")["label"].agg(lambda labels: labels.mode().iloc[0])
    chosen: list[str] = []
    for number, name in enumerate(LABELS):
        members = np.array(sorted(label.index[label == name]))
        order = np.random.default_rng([seed, number]).permutation(len(members))
        chosen += list(members[order][: int(np.ceil(share * len(members)))])
    return chosen


def prepare_share(study: Study, profile: Profile, share: float) -> tuple[Study, Profile]:
    """The study and profile of one share; the study itself for the whole. What is already right stays untouched."""
    if share == 1:
        return study, profile
    target = Study(study.root / "curve" / f"{share:g}")
    index = read_index(study)
    own = patients_of_share(index, share, seed=profile.seed)
    all_slices = (index["split"] == "train").sum()
    index.loc[(index["split"] == "train") & ~index["patient"].isin(own), "split"] = "unused"
    lay_out_beside(study, target, index)
    epochs = max(1, round(profile.training.epochs * all_slices / (index["split"] == "train").sum()))
    # The fewer the slices, the more passes: the patience counts passes, so it grows with them.
    patience = profile.training.patience and max(1, round(profile.training.patience * epochs / profile.training.epochs))
    training = profile.training.model_copy(update={"epochs": epochs, "patience": patience})
    return target, profile.model_copy(update={"training": training})


def run_curve(study: Study, profile: Profile) -> None:
    """Train and predict every share; what is finished is not repeated, what was killed goes on.

    Raises
    ------
    StudyError
        The curve is off in this profile.
    """
    architecture = _architecture(profile)
    for share in shares_of(profile):
        target, own = prepare_share(study, profile, share)
        print(f"{100 * share:g} % of the training patients", flush=True)
        learn(target, own, architecture)


def curve_table(study: Study, profile: Profile) -> pd.DataFrame:
    """Test scores by share; ``learning_curve.csv``.

    Returns
    -------
    DataFrame
        ``share, patients, slices, epochs`` of the training; ``accuracy`` and ``dice`` of the mask head on the test slices, each with its 95 %
        interval over test patients.
    """
    architecture, rows = _architecture(profile), []
    for share in shares_of(profile):
        target, own = prepare_share(study, profile, share)
        index = Dataset(target).index
        train, scores = index[index["split"] == "train"], slice_scores(target, architecture, made_by="02_learning_curve")
        row = {"share": share, "patients": train["patient"].nunique(), "slices": len(train), "epochs": len(pd.read_csv(target.history(architecture)))}
        rows.append(row | means_with_intervals(scores, ("accuracy", "dice"), draws=profile.evaluation.bootstrap, seed=profile.seed))
    return pd.DataFrame(rows)


def _architecture(profile: Profile) -> str:
    architecture = profile.training.curve.architecture
    if architecture is None:
        raise StudyError(
            "The learning curve is off: `training.curve.architecture` is null in the profile, expected the name of a network, for example "
            "efficientnetb0."
        )
    return architecture
