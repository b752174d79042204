"""Figures of how networks are trained: what augmentation shows them, what a second head changes, what a reference run learned."""

from __future__ import annotations

from typing import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from xai.plotting.base import BLUE, GREY, INK, ORANGE, WIDTH, StudyFigure, draw_slice, name_of, styled

MEASURES = {
    "accuracy": "accuracy", "dice": "Dice of the mask head", "gradcam_dice": "Dice of Grad-CAM", "gradcampp_dice": "Dice of Grad-CAM++",
    "gradcam_pointing": "pointing game, Grad-CAM", "gradcampp_pointing": "pointing game, Grad-CAM++",
}  # fmt: skip


@styled
def plot_augmentation(images: np.ndarray, masks: np.ndarray) -> Figure:
    """Slices as they are (first column) and as augmentation shows them, with the outline of the mask; arrays (rows, columns, S, S)."""
    rows, columns = images.shape[:2]
    figure = StudyFigure(figsize=(WIDTH, WIDTH / columns * rows + 0.3))
    grid = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for column in range(columns):
            draw_slice(grid[row, column], images[row, column], masks[row, column] > 0.5)
    grid[0, 0].set_title("as it is")
    for axes in grid[0, 1:]:
        axes.set_title("augmented")
    return figure


@styled
def plot_gaps(gaps: pd.DataFrame) -> Figure:
    """Differences of the hybrid to two unconnected heads (diamonds) and to one head (circles), with intervals; a panel per network.

    Parameters
    ----------
    gaps : DataFrame
        Of `xai.ablation.gap_table`; may be empty.
    """
    networks = list(gaps["architecture"].unique())
    figure = StudyFigure(figsize=(WIDTH, 3.1))
    panels = figure.subplots(1, max(1, len(networks)), squeeze=False, sharex=True, sharey=True)[0]
    if not networks:
        panels[0].text(0.5, 0.5, "no ablation in this profile", ha="center", va="center", color=GREY, transform=panels[0].transAxes)
        panels[0].set_axis_off()
        return figure
    names = list(MEASURES)
    for axes, network in zip(panels, networks):
        part = gaps[gaps["architecture"] == network]
        for row in part.itertuples():
            if not np.isfinite(row.gap):
                continue
            beside = row.against == "two_heads"
            place = names[::-1].index(row.measure) + (0.17 if beside else -0.17)
            sure = row.gap_low > 0 or row.gap_high < 0
            colour = (BLUE if row.gap > 0 else ORANGE) if sure else GREY
            axes.plot([row.gap_low, row.gap_high], [place, place], color=colour, lw=2, solid_capstyle="butt")
            axes.plot(row.gap, place, marker="D" if beside else "o", color=colour, ms=5)
        axes.axvline(0, color=INK, lw=0.9)
        axes.set(title=name_of(network), yticks=range(len(names)), yticklabels=[MEASURES[name] for name in names[::-1]], ylim=(-0.6, len(names) - 0.4))
        axes.grid(axis="x")
    figure.supxlabel("hybrid minus two unconnected heads (diamond), minus one head (circle); grey: the interval holds zero", fontsize=9)
    return figure


@styled
def plot_learning_curve(table: pd.DataFrame) -> Figure:
    """Test scores against the number of training patients, with intervals over test patients.

    Parameters
    ----------
    table : DataFrame
        Of `xai.learning_curve.curve_table`; may be empty.
    """
    figure = StudyFigure(figsize=(WIDTH, 2.7))
    for axes, (measure, colour) in zip(figure.subplots(1, 2), (("accuracy", BLUE), ("dice", ORANGE))):
        if len(table):
            axes.fill_between(table["patients"], table[f"{measure}_low"], table[f"{measure}_high"], color=colour, alpha=0.18, lw=0)
            axes.plot(table["patients"], table[measure], "o-", color=colour, lw=1.5, ms=5)
            axes.set_xticks(table["patients"])
            axes.set(xlim=(0, 1.08 * table["patients"].max()), ylim=(0, 1.02))
        else:
            axes.text(0.5, 0.5, "off in this profile", ha="center", va="center", color=GREY, transform=axes.transAxes)
        axes.set(title=MEASURES[measure], xlabel="training patients")
        axes.grid(axis="y")
    return figure


@styled
def plot_shuffled(table: pd.DataFrame) -> Figure:
    """Accuracy, likeness to the heatmaps of true labels, and pointing game by training, with intervals over test patients.

    Parameters
    ----------
    table : DataFrame
        Of `xai.shuffled_labels.summary`; may be empty.
    """
    figure = StudyFigure(figsize=(WIDTH, 2.3))
    titles = {"accuracy": "accuracy", "similarity": "rank correlation with the\nheatmap of true labels", "pointing": "maximum in the tumour"}
    panels = figure.subplots(1, len(titles), sharey=True)
    kinds = list(dict.fromkeys(table["labels"])) if len(table) else []
    for axes, (measure, title) in zip(panels, titles.items()):
        if not kinds:
            axes.text(0.5, 0.5, "off in this profile", ha="center", va="center", color=GREY, transform=axes.transAxes)
        for variant, colour, marker, shift in (("hybrid", BLUE, "o", 0.14), ("classification_only", ORANGE, "s", -0.14)):
            for row in table[table["variant"] == variant].to_dict("records") if kinds else ():
                place = kinds[::-1].index(row["labels"]) + shift
                axes.plot([row[f"{measure}_low"], row[f"{measure}_high"]], [place, place], color=colour, lw=2, alpha=0.45, solid_capstyle="butt")
                axes.plot(row[measure], place, marker, color=colour, ms=5.5, label=name_of(variant))
        axes.axvline(0, color=INK, lw=0.9)
        axes.set(title=title, yticks=range(len(kinds)), yticklabels=kinds[::-1], ylim=(-0.5, max(1, len(kinds)) - 0.5), xlim=(-0.3 if measure == "similarity" else 0, 1.03))
        axes.grid(axis="x")
    named = dict(zip(*panels[0].get_legend_handles_labels()[::-1]))
    if named:
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=2)
    return figure


@styled
def plot_reference(own: pd.DataFrame, reference: pd.DataFrame | None, names: tuple[str, str]) -> Figure:
    """Accuracy and Dice of two runs side by side, never joined: filled for the reader's own run, hollow for the reference.

    Parameters
    ----------
    own, reference : DataFrame
        architecture, accuracy and dice, each with ``_low`` and ``_high``.
    names : (str, str)
        How the legend calls the two runs.
    """
    looks: Mapping = {names[0]: (own, BLUE, BLUE, 0.16)}
    if reference is None:
        reference = own
    else:
        looks |= {names[1]: (reference, ORANGE, "white", -0.16)}
    order = list(reference.sort_values("accuracy")["architecture"])
    order = [name for name in own["architecture"] if name not in order] + order
    figure = StudyFigure(figsize=(WIDTH, 0.9 + 0.3 * len(order)))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (measure, title) in zip(panels, (("accuracy", "accuracy"), ("dice", "Dice of the mask head"))):
        for label, (table, edge, face, lift) in looks.items():
            table = table.set_index("architecture").reindex(order)
            place = np.arange(len(order)) + lift
            axes.hlines(place, table[f"{measure}_low"], table[f"{measure}_high"], color=edge, lw=1.5)
            axes.plot(table[measure], place, "o", ms=5, markeredgecolor=edge, markerfacecolor=face, linestyle="none", label=label)
        axes.set(title=title, xlim=(0, 1.02))
        axes.grid(axis="x")
    panels[0].set_yticks(range(len(order)), [name_of(name) for name in order])
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure
