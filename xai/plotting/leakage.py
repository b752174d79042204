"""Figures of the leakage demonstration: who is in training with whom, and what that is worth."""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from xai.plotting.base import BLUE, GREY, INK, LIGHT, ORANGE, SKY, WIDTH, StudyFigure, styled

CONDITION_NAMES = {"by_patient": "by patient", "by_slice": "by slice"}
ROLES = {  # split -> face, edge, letter, what it is
    "train": (BLUE, BLUE, "", "trains"),
    "validation": (LIGHT, GREY, "", "chooses the epoch"),
    "test": (ORANGE, ORANGE, "?", "is judged"),
    "unused": ("white", GREY, "", "left out"),
}


@styled
def plot_leakage_design(groups: Sequence[str], splits: Mapping[str, np.ndarray]) -> Figure:
    """Where the slices of a few patients go under either condition.

    Parameters
    ----------
    groups : sequence of str
        The split of each patient in the study, patients of one split together.
    splits : mapping of condition -> array (patients, slices)
        The split of every slice under ``by_patient`` and ``by_slice``.
    """
    figure = StudyFigure(figsize=(WIDTH, 0.75 + 0.4 * len(groups)))
    for axes, condition in zip(figure.subplots(1, 2), CONDITION_NAMES):
        _draw_company(axes, list(groups), splits[condition])
        axes.set_title(f"{CONDITION_NAMES[condition]}: {(splits[condition] == 'train').sum()} slices train", fontsize=10, weight="bold")
    handles = [FancyBboxPatch((0, 0), 1, 1, facecolor=face, edgecolor=edge, linestyle=_line(split), label=name)
               for split, (face, edge, _, name) in ROLES.items()]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=1.2, handleheight=1.2)
    return figure


@styled
def plot_leakage(table: pd.DataFrame, gap: pd.DataFrame) -> Figure:
    """Paired scores of both conditions by seed, and the gap with its interval.

    Parameters
    ----------
    table : DataFrame
        Of `xai.leakage.leakage_table`: ``condition, seed, accuracy, dice`` with ``_low, _high``.
    gap : DataFrame
        Of `xai.leakage.leakage_gap`: ``measure, gap, gap_low, gap_high``.
    """
    figure = StudyFigure(figsize=(WIDTH, 3.0))
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
    for axes, (measure, title) in zip(panels, (("accuracy", "accuracy"), ("dice", "Dice of the mask head"))):
        _paired(axes, table, measure)
        axes.set_title(title)
    axes = panels[2]
    rows = np.arange(len(gap))[::-1]
    axes.axvline(0, color=INK, lw=0.9)
    axes.hlines(rows, gap["gap_low"], gap["gap_high"], color=SKY, lw=3)
    axes.scatter(gap["gap"], rows, s=34, color=BLUE, zorder=3)
    for row, record in zip(rows, gap.itertuples()):
        words = f"{record.gap:+.3f}\n[{record.gap_low:+.3f}, {record.gap_high:+.3f}]".replace("-", "\u2212")
        axes.annotate(words, (record.gap, row), xytext=(0, 9), textcoords="offset points", ha="center", va="bottom", fontsize=9,
                      linespacing=1.1)  # fmt: skip
    reach = 1.8 * max(0.01, np.nanmax(np.abs(gap[["gap_low", "gap_high", "gap"]].to_numpy(float)), initial=0))
    axes.set(xlim=(-reach, reach), ylim=(-0.5, len(gap) - 0.2), title="by slice minus by patient")
    axes.xaxis.get_major_locator().set_params(nbins=4)
    axes.set_yticks(rows, [{"accuracy": "accuracy", "dice": "Dice"}[measure] for measure in gap["measure"]])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    return figure


def _line(split: str) -> str:
    return "--" if split == "unused" else "-"


def _draw_company(axes: Axes, groups: list[str], splits: np.ndarray) -> None:
    """A row of squares per patient, coloured by what its slices are for; (patients, slices)."""
    offset = np.cumsum([0.0, *(0.28 if groups[n] != groups[n - 1] else 0.0 for n in range(1, len(groups)))])
    for number, row in enumerate(splits):
        y = -number - offset[number]
        axes.text(-0.25, y + 0.4, f"patient {chr(ord('A') + number)}", ha="right", va="center", fontsize=9)
        for column, split in enumerate(row):
            face, edge, letter, _ = ROLES[split]
            axes.add_patch(FancyBboxPatch((column + 0.12, y + 0.08), 0.64, 0.64, boxstyle="round,pad=0.06", facecolor=face,
                                          edgecolor=edge, linestyle=_line(split), lw=1))  # fmt: skip
            axes.text(column + 0.44, y + 0.38, letter, ha="center", va="center", color="white", weight="bold", fontsize=10)
    names = {"train": "training\npatients", "validation": "validation", "test": "test\npatients"}
    for split in dict.fromkeys(groups):
        rows = [-n - offset[n] + 0.4 for n, group in enumerate(groups) if group == split]
        axes.text(4.25, np.mean(rows), names[split], va="center", fontsize=9, color=GREY)
    axes.set(xlim=(-1.9, 6.0), ylim=(-len(groups) - offset[-1] + 0.95, 1.0), aspect="equal")
    axes.set_axis_off()


def _paired(axes: Axes, table: pd.DataFrame, measure: str) -> None:
    """A line per seed from the score by patient to the score by slice, each with its interval."""
    seeds = list(dict.fromkeys(table["seed"]))
    for number, seed in enumerate(seeds):
        shift = 0.1 * (number - (len(seeds) - 1) / 2)
        own = table[table["seed"] == seed].set_index("condition").loc[list(CONDITION_NAMES)]
        places = np.arange(2) + shift
        axes.plot(places, own[measure], color=GREY, lw=1.1, zorder=1)
        axes.vlines(places, own[f"{measure}_low"], own[f"{measure}_high"], colors=[BLUE, ORANGE], alpha=0.45, lw=3, zorder=2)
        axes.scatter(places, own[measure], s=30, color=(BLUE, ORANGE), zorder=3)
    axes.set_xticks([0, 1], list(CONDITION_NAMES.values()))
    axes.set(xlim=(-0.5, 1.5))
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y")
