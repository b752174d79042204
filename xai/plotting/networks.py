"""Figures of what the networks learned: F4 to F6."""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xai.metrics.classification import calibration_curve, classification_table, expected_calibration_error, roc_curves
from xai.paths import LABELS
from xai.plotting.base import (
    BLUE, GREEN, GREY, INK, LABEL_COLOURS, LIGHT, ORANGE, SKY, WIDTH, StudyFigure, name_of, styled,
)  # fmt: skip


@styled
def plot_training_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """F4: loss, accuracy and Dice by epoch; a row per architecture, training dashed, validation solid, best epoch dotted."""
    figure = StudyFigure(figsize=(WIDTH, 0.9 + (1.02 if len(histories) > 3 else 1.5) * len(histories)))
    grid = figure.subplots(len(histories), 3, squeeze=False, sharex=True, sharey="col")
    columns = (("loss", GREY), ("accuracy", BLUE), ("dice", GREEN))
    for (architecture, history), row in zip(histories.items(), grid):
        for axes, (column, colour) in zip(row, columns):
            axes.grid(axis="y")
            for key, dashes in ((column, (0, (3, 1.5))), (f"val_{column}", "-")):
                if key in history and history[key].notna().any():
                    marker = "o" if history[key].notna().sum() == 1 else None  # a lone epoch is a point, not a line
                    axes.plot(history["epoch"], history[key], color=colour, linestyle=dashes, marker=marker, lw=1.5, label=key)
            if not axes.lines:
                axes.text(0.5, 0.5, "not trained", transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=9)
            if "val_score" in history and history["val_score"].notna().any():
                axes.axvline(history.loc[history["val_score"].idxmax(), "epoch"], color=INK, lw=0.8, linestyle=":", zorder=0)
        row[0].annotate(name_of(architecture), (0.98, 0.95), xycoords="axes fraction", ha="right", va="top", fontsize=9, weight="bold",
                        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1})  # fmt: skip
    losses = pd.concat([h[[c for c in ("loss", "val_loss") if c in h]].stack() for h in histories.values()])
    if len(losses) and (losses > 0).all() and losses.max() > 10 * losses.min():
        grid[0, 0].set_yscale("log")
    for axes, title in zip(grid[0], ("loss", "accuracy", "Dice of the mask head")):
        axes.set_title(title)
    for axes in grid[:, 1:].flat:
        axes.set(ylim=(0, 1.02), yticks=(0, 0.5, 1))
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    marks = [Line2D([], [], color=INK, lw=lw, linestyle=dashes) for lw, dashes in ((1.5, (0, (3, 1.5))), (1.5, "-"), (0.8, ":"))]
    figure.legend(marks, ["training", "validation", "epoch whose weights were kept"], loc="outside lower center", ncols=3)
    return figure


@styled
def plot_confusions(confusions: Mapping[str, np.ndarray], labels: Sequence[str] = LABELS) -> Figure:
    """F5: confusion matrices; colour and percent by true class (row), number of slices above it."""
    columns = min(3, len(confusions))
    rows = -(-len(confusions) // columns)
    figure = StudyFigure(figsize=(1.6 + 1.87 * columns, 0.95 + 2.0 * rows))
    grid = figure.subplots(rows, columns, squeeze=False)
    colours = ScalarMappable(Normalize(0, 1), "cividis")
    for axes, (architecture, matrix) in zip(grid.flat, confusions.items()):
        matrix = np.asarray(matrix)
        share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axes.pcolormesh(share, cmap=colours.cmap, norm=colours.norm, edgecolors="white", linewidth=1.5)
        for (row, column), count in np.ndenumerate(matrix):
            ink = "white" if share[row, column] < 0.5 else "black"
            axes.text(column + 0.5, row + 0.5, f"{count}\n{share[row, column]:.0%}", ha="center", va="center", color=ink, fontsize=9)
        axes.set(aspect="equal", xticks=np.arange(len(labels)) + 0.5, yticks=np.arange(len(labels)) + 0.5)
        axes.invert_yaxis()
        axes.set_title(name_of(architecture))
        axes.set_xticklabels(labels, rotation=30, ha="right", rotation_mode="anchor")
        axes.set_yticklabels(labels)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    for number, axes in enumerate(grid.flat):
        axes.set_axis_off() if number >= len(confusions) else axes.tick_params(
            labelleft=number % columns == 0, labelbottom=number + columns >= len(confusions)
        )
    figure.supxlabel("predicted class", fontsize=10)
    figure.supylabel("true class", fontsize=10)
    figure.colorbar(colours, ax=grid, shrink=0.8 if rows == 1 else 0.5, aspect=25, label="share of the true class")
    return figure


@styled
def plot_roc_calibration(predictions: Mapping[str, pd.DataFrame]) -> Figure:
    """F6: macro ROC by architecture, ROC by class of the best, reliability, and calibration error.

    The architectures with the largest and smallest macro ROC area are drawn in colour, the rest in grey. The area of a
    reliability dot grows with the share of slices in its bin.
    """
    figure = StudyFigure(figsize=(WIDTH, 6.9))
    (macro, classes), (reliability, error) = figure.subplots(2, 2)
    areas = pd.Series({a: classification_table(p, bootstrap=1)["auc"] for a, p in predictions.items()}).sort_values(na_position="first")
    colour = {name: LIGHT for name in areas.index} | {areas.index[0]: ORANGE, areas.index[-1]: BLUE}
    grid = np.linspace(0, 1, 201)
    for name in areas.index:
        curves = roc_curves(predictions[name])
        order = 2 if colour[name] == LIGHT else 3
        if curves:
            mean = np.mean([np.interp(grid, x, y) for x, y, _ in curves.values()], axis=0)
            macro.plot(np.r_[0, grid], np.r_[0, mean], color=colour[name], zorder=order, label=name)
        bins = calibration_curve(predictions[name]).dropna()
        reliability.plot(bins["confidence"], bins["accuracy"], color=colour[name], zorder=order, lw=1.2, label=name)
        size = 4 + 90 * bins["slices"] / bins["slices"].sum()
        reliability.scatter(bins["confidence"], bins["accuracy"], s=size, color=colour[name], zorder=order)
    for height, name in zip((0.12, 0.22), dict.fromkeys((areas.index[0], areas.index[-1]))):
        macro.text(0.98, height - 0.06, f"{name_of(name)} {areas[name]:.3f}", color=colour[name], ha="right", fontsize=9)
    best = areas.index[-1]
    for height, (label, (x, y, area)) in enumerate(roc_curves(predictions[best]).items()):
        classes.plot(x, y, color=LABEL_COLOURS[label], label=label)
        classes.text(0.98, 0.26 - 0.1 * height, f"{label} {area:.3f}", color=LABEL_COLOURS[label], ha="right", fontsize=9)
    for axes, title in ((macro, "ROC, mean of the classes"), (classes, f"ROC by class, {name_of(best)}"), (reliability, "Reliability")):
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, linestyle=":", zorder=1)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title=title)
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
    reliability.set(xlabel="stated confidence", ylabel="share that is right")
    reliability.text(1.0, 0.04, "overconfident below", ha="right", fontsize=9, color=GREY)
    errors = pd.Series({name: expected_calibration_error(predictions[name]) for name in predictions}).sort_values(ascending=False)
    error.scatter(errors, range(len(errors)), color=[colour[n] if colour[n] != LIGHT else GREY for n in errors.index])
    error.set_yticks(range(len(errors)), [name_of(name) for name in errors.index])
    error.set(xlim=(0, max(0.05, 1.1 * errors.max())), xlabel="expected calibration error", title="Calibration error")
    error.grid(axis="x")
    return figure


@styled
def plot_architecture_scores(scores: pd.DataFrame) -> Figure:
    """Forest plot of ``classification.csv``: each score with its 95 % interval, sorted by accuracy, the best value filled."""
    metrics = [m for m in ("accuracy", "precision", "recall", "f1", "auc") if m in scores]
    table = scores.sort_values("accuracy", na_position="first").reset_index(drop=True)
    figure = StudyFigure(figsize=(WIDTH, 0.9 + 0.3 * len(table)))
    panels = np.atleast_1d(figure.subplots(1, len(metrics), sharey=True))
    for axes, metric in zip(panels, metrics):
        rows = np.arange(len(table))
        axes.hlines(rows, table[f"{metric}_low"], table[f"{metric}_high"], color=SKY, lw=2.4)
        best = table[metric] == table[metric].max()
        axes.scatter(table[metric], rows, s=26, facecolors=np.where(best, BLUE, "white"), edgecolors=BLUE, zorder=3)
        axes.set_title(name_of(metric), fontsize=9)
        axes.grid(axis="x")
        axes.margins(x=0.08, y=0.06)
        axes.xaxis.get_major_locator().set_params(nbins=3)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(rows, [name_of(name) for name in table["architecture"]])
    figure.supxlabel("score on the test split, 95 % interval over patients", fontsize=9)
    return figure


@styled
def plot_patients(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Mean Dice of each patient, a panel for each table of `xai.evaluation.segmentation_patients`: the more slices, the larger the dot.

    The thick bar is the mean over a class's slices, the thin one over its patients.
    """
    figure = StudyFigure(figsize=(WIDTH, 3.4))
    panels = np.atleast_1d(figure.subplots(1, len(tables), sharey=True))
    generator = np.random.default_rng(0)  # jitter only keeps dots apart
    for axes, (title, table) in zip(panels, tables.items()):
        present = [label for label in LABELS if label in set(table["label"])]
        for number, label in enumerate(present):
            part = table[table["label"] == label]
            axes.scatter(number + generator.uniform(-0.24, 0.24, len(part)), part["dice"], s=6 * part["slices"], color=SKY, alpha=0.7, linewidths=0)
            for mean, width in ((np.average(part["dice"], weights=part["slices"]), 2.4), (part["dice"].mean(), 1.2)):
                axes.hlines(mean, number - 0.36, number + 0.36, color=BLUE, lw=width, zorder=3)
        axes.set_xticks(range(len(present)), [f"{label}\n{(table['label'] == label).sum()} patients" for label in present], fontsize=9)
        axes.set(title=title, xlim=(-0.6, len(present) - 0.4), ylim=(-0.03, 1.03))
        axes.grid(axis="y")
    panels[0].set_ylabel("Dice, mean of a patient's slices")
    return figure
