"""Figures of the leakage demonstration: who is in training with whom, and what that is worth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from xai.leakage import CONDITIONS, UNUSED, condition_splits, evaluation_rows
from xai.plotting.base import BLUE, GREY, INK, LIGHT, ORANGE, SKY, WIDTH, StudyFigure, styled

CONDITION_NAMES = {"by_patient": "by patient", "by_slice": "by slice"}
ROLES = {  # split -> face, edge, letter, what it is
    "train": (BLUE, BLUE, "", "trains"),
    "validation": (LIGHT, GREY, "", "chooses the epoch"),
    "test": (ORANGE, ORANGE, "?", "is judged"),
    UNUSED: ("white", GREY, "", "left out"),
}
TOY = {"A": "train", "B": "train", "C": "train", "D": "validation", "E": "test", "F": "test"}  # four slices each
SEED = 3


@styled
def plot_leakage_design() -> Figure:
    """Where the slices of six patients go under either condition, dealt by the code that deals the study's own slices."""
    slices = [(patient, split, "glioma") for patient, split in TOY.items() for _ in range(4)]
    index = pd.DataFrame(slices, columns=["patient", "split", "label"])
    evaluation = evaluation_rows(index, seed=SEED)
    figure = StudyFigure(figsize=(WIDTH, 3.15))
    for axes, condition in zip(figure.subplots(1, 2), CONDITIONS):
        splits = condition_splits(index, condition, evaluation=evaluation, seed=SEED)
        _draw_company(axes, splits.reshape(len(TOY), 4))
        axes.set_title(f"{CONDITION_NAMES[condition]}: {(splits == 'train').sum()} slices train", fontsize=10, weight="bold")
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
    return "--" if split == UNUSED else "-"


def _draw_company(axes: Axes, splits: np.ndarray) -> None:
    """A row of squares per patient, coloured by what its slices are for; (patients, slices)."""
    groups = list(TOY.values())
    offset = np.cumsum([0.0, *(0.28 if groups[n] != groups[n - 1] else 0.0 for n in range(1, len(groups)))])
    for number, (patient, row) in enumerate(zip(TOY, splits)):
        y = -number - offset[number]
        axes.text(-0.25, y + 0.4, f"patient {patient}", ha="right", va="center", fontsize=9)
        for column, split in enumerate(row):
            face, edge, letter, _ = ROLES[split]
            axes.add_patch(FancyBboxPatch((column + 0.12, y + 0.08), 0.64, 0.64, boxstyle="round,pad=0.06", facecolor=face,
                                          edgecolor=edge, linestyle=_line(split), lw=1))  # fmt: skip
            axes.text(column + 0.44, y + 0.38, letter, ha="center", va="center", color="white", weight="bold", fontsize=10)
    names = {"train": "training\npatients", "validation": "validation", "test": "test\npatients"}
    for split, name in names.items():
        rows = [-n - offset[n] + 0.4 for n, group in enumerate(groups) if group == split]
        axes.text(4.25, np.mean(rows), name, va="center", fontsize=9, color=GREY)
    axes.set(xlim=(-1.9, 6.0), ylim=(-len(TOY) - offset[-1] + 0.95, 1.0), aspect="equal")
    axes.set_axis_off()


def _paired(axes: Axes, table: pd.DataFrame, measure: str) -> None:
    """A line per seed from the score by patient to the score by slice, each with its interval."""
    seeds = list(dict.fromkeys(table["seed"]))
    for number, seed in enumerate(seeds):
        shift = 0.1 * (number - (len(seeds) - 1) / 2)
        own = table[table["seed"] == seed].set_index("condition").loc[list(CONDITIONS)]
        places = np.arange(2) + shift
        axes.plot(places, own[measure], color=GREY, lw=1.1, zorder=1)
        axes.vlines(places, own[f"{measure}_low"], own[f"{measure}_high"], colors=[BLUE, ORANGE], alpha=0.45, lw=3, zorder=2)
        axes.scatter(places, own[measure], s=30, color=(BLUE, ORANGE), zorder=3)
    axes.set_xticks([0, 1], [CONDITION_NAMES[condition] for condition in CONDITIONS])
    axes.set(xlim=(-0.5, 1.5))
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y")
