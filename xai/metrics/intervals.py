"""Intervals of means over slices that belong to patients."""

from __future__ import annotations

from typing import Sequence

import numpy as np
import pandas as pd


def patient_interval(values: np.ndarray, patients: np.ndarray, *, draws: int, seed: int) -> tuple[float, float]:
    """95 % percentile interval of the mean over slices, by resampling patients with all their slices.

    Parameters
    ----------
    values, patients : (N,)
        One value and the name of the patient for each slice.
    """
    _, member = np.unique(patients, return_inverse=True)
    sums, counts = np.bincount(member, weights=values), np.bincount(member)
    weights = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=draws)
    means = (weights @ sums) / (weights @ counts)
    return tuple(float(value) for value in np.percentile(means, [2.5, 97.5]))


def means_with_intervals(scores: pd.DataFrame, columns: Sequence[str], *, draws: int, seed: int) -> dict[str, float]:
    """Means of the columns of a table with a column `patient`, each with ``_low`` and ``_high``, its interval over patients."""
    result: dict[str, float] = {}
    for column in columns:
        values = scores[column].to_numpy(float)
        low, high = patient_interval(values, scores["patient"].to_numpy(), draws=draws, seed=seed)
        result |= {column: float(values.mean()), f"{column}_low": low, f"{column}_high": high}
    return result
