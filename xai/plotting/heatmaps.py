"""Figures of saliency and masks: F7 to F9, F13, F14, and stability."""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from xai.metrics.overlap import dice
from xai.paths import LABELS, METHODS
from xai.plotting.base import (
    BASELINE_DASHES, BLUE, GREEN, GREY, INK, LABEL_COLOURS, LIGHT, NAMES, ORANGE, PURPLE, SKY, WIDTH,
    StudyFigure, draw_heat, draw_mask, draw_slice, heat_bar, method_colour, name_of, ordered_methods, spread, styled,
)  # fmt: skip


@styled
def plot_cam_grid(images: np.ndarray, masks: np.ndarray, heatmaps: Mapping[str, np.ndarray], titles: Sequence[str]) -> Figure:
    """F7: a row per slice, a column per method; heatmap over the slice, drawn tumour as outline, one bar for all.

    Below 0.5 the heatmap fades and lets the slice show through; the bar shows the same fading over black.
    """
    columns = 1 + len(heatmaps)
    side = (WIDTH - 1.15) / columns
    figure = StudyFigure(figsize=(WIDTH, len(images) * (side + 0.04) + 0.3))
    grid = figure.subplots(len(images), columns, squeeze=False)
    for number, row in enumerate(grid):
        draw_slice(row[0], images[number], masks[number])
        row[0].set_ylabel(titles[number])
        for axes, maps in zip(row[1:], heatmaps.values()):
            draw_heat(axes, images[number], maps[number], masks[number])
    for axes, title in zip(grid[0], ("slice", *map(name_of, heatmaps))):
        axes.set_title(title)
    heat_bar(figure, grid, shrink=min(1.0, 1.6 / len(images)))
    return figure


@styled
def plot_pieces(shown: Mapping | None) -> Figure:
    """`plot_cam_grid` of what `xai.occlusion.examples` gives, or a word that there is nothing to show."""
    if shown is not None:
        return plot_cam_grid(**shown)
    figure = StudyFigure(figsize=(WIDTH, 1.2))
    axes = figure.subplots()
    axes.text(0.5, 0.5, "no ablation in this profile", ha="center", va="center", color=GREY, transform=axes.transAxes)
    axes.set_axis_off()
    return figure


@styled
def plot_mask_steps(image: np.ndarray, heatmap: np.ndarray, steps: Mapping[str, np.ndarray], truth: np.ndarray) -> Figure:
    """F8: slice, heatmap, and the mask after each step with its Dice; the drawn tumour as outline throughout."""
    columns = 3
    rows = -(-(2 + len(steps)) // columns)
    side = (WIDTH - 0.95) / columns
    figure = StudyFigure(figsize=(WIDTH, rows * (side + 0.42)))
    grid = figure.subplots(rows, columns, squeeze=False)
    panels = grid.flat
    draw_slice(panels[0], image, truth)
    panels[0].set_title("slice, drawn tumour")
    draw_heat(panels[1], image, heatmap, truth)
    panels[1].set_title("heatmap")
    for number, (axes, (name, mask)) in enumerate(zip(panels[2:], steps.items()), 1):
        draw_mask(axes, image, mask, truth)
        axes.set_title(f"{number}. {NAMES.get(name, name)}\nDice {dice(mask[None], truth[None])[0]:.2f}")
    for axes in panels[2 + len(steps) :]:
        axes.set_axis_off()
    heat_bar(figure, grid, shrink=0.7)
    return figure


@styled
def plot_percentile_examples(
    images: np.ndarray, truths: np.ndarray, masks: Mapping[int, np.ndarray], scores: Mapping[int, np.ndarray], titles: Sequence[str]
) -> Figure:
    """A row for each slice, a column for each percentile: the mask filled, the drawn tumour as outline, the Dice above.

    Parameters
    ----------
    images, truths : array (N, S, S)
    masks, scores : percentile -> masks (N, S, S), and their Dice (N,)
    titles : N names
    """
    side = (WIDTH - 0.3) / len(masks)
    figure = StudyFigure(figsize=(WIDTH, len(images) * (side + 0.22)))
    grid = figure.subplots(len(images), len(masks), squeeze=False)
    for number, row in enumerate(grid):
        for axes, (level, found) in zip(row, masks.items()):
            draw_mask(axes, images[number], found[number], truths[number])
            axes.set_title(f"percentile {level}, Dice {scores[level][number]:.2f}", fontsize=8)
        row[0].set_ylabel(titles[number])
    return figure


@styled
def plot_percentile_curves(curves: pd.DataFrame) -> Figure:
    """F9: Dice against the percentile of the threshold; a panel per method, architectures thin, their mean bold."""
    methods = ordered_methods(curves["method"])
    figure = StudyFigure(figsize=(WIDTH, 2.9))
    panels = np.atleast_1d(figure.subplots(1, len(methods), sharey=True, sharex=True))
    for axes, method in zip(panels, methods):
        table = curves[curves["method"] == method].pivot_table(index="percentile", columns="architecture", values="dice")
        for name in table:
            axes.plot(table.index, table[name], color=LIGHT, lw=1.0, label=name)
        mean = table.mean(axis=1)
        axes.plot(mean.index, mean, color=method_colour(method), label="mean", marker="o" if len(mean) == 1 else None)
        if mean.notna().any():
            best = mean.idxmax()
            axes.plot(best, mean[best], "o", color=method_colour(method), ms=6)
            axes.annotate(f"{mean[best]:.2f} at {best:g}", (best, mean[best]), xytext=(0, 9), textcoords="offset points",
                          ha="right" if best > np.mean(table.index) else "left", fontsize=9, color=method_colour(method))  # fmt: skip
        axes.set_title(name_of(method), color=method_colour(method))
        axes.set_xlabel("percentile of the heatmap")
        axes.grid(axis="y")
    panels[0].set_ylim(0, max(0.1, 1.18 * np.nanmax([curves["dice"].max(), 0])))
    panels[0].set_ylabel("Dice")
    return figure


@styled
def plot_overlap(overlap: pd.DataFrame, *, value: str = "dice") -> Figure:
    """Overlap by class, method and threshold rule, mean over architectures.

    The oracle picks its threshold on the very mask it is scored by; it is a hollow mark at the end of a grey bar, an
    upper bound and no result. Baselines stand below the methods, apart.
    """
    rules = {"fixed": ("s", BLUE), "validation": ("o", ORANGE), "contrast": ("^", GREEN), "edges": (">", GREEN), "half maximum": ("v", PURPLE),
             "half energy": ("<", PURPLE), "otsu": ("P", SKY), "chosen": ("*", INK)}  # fmt: skip
    rules = {rule: mark for rule, mark in rules.items() if rule in set(overlap["threshold"])}
    methods = ordered_methods(overlap["method"])[::-1]
    labels = [label for label in (*LABELS, "all") if label in set(overlap["label"])]
    figure = StudyFigure(figsize=(WIDTH, 1.25 + 0.36 * len(methods)))
    panels = np.atleast_1d(figure.subplots(1, len(labels), sharey=True, sharex=True))
    mean = overlap.groupby(["label", "method", "threshold"])[value].mean()
    baselines = sum(method not in METHODS for method in methods)
    for axes, label in zip(panels, labels):
        for row, method in enumerate(methods):
            oracle = mean.get((label, method, "oracle"), np.nan)
            others = [mean.get((label, method, rule), np.nan) for rule in rules]
            if np.isfinite(oracle) and np.isfinite(others).any():
                axes.hlines(row, np.nanmax(others), oracle, color=LIGHT, lw=3, zorder=1)
            axes.scatter(oracle, row, marker="D", s=30, facecolors="white", edgecolors=GREY, zorder=2, label="oracle: upper bound")
            for (rule, (marker, colour)), score in zip(rules.items(), others):
                axes.scatter(score, row, marker=marker, s=30, color=colour, zorder=3, alpha=0.85, label=rule)
        if 0 < baselines < len(methods):
            axes.axhline(baselines - 0.5, color=GREY, lw=0.8, linestyle=":")
        axes.set_title(label, color=LABEL_COLOURS.get(label, INK))
        axes.set(xlabel=f"mean {name_of(value)}", ylim=(-0.6, len(methods) - 0.4))
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
    panels[0].set_xlim(left=0)
    panels[0].set_yticks(range(len(methods)), [name_of(method) for method in methods])
    handles = dict(zip(*panels[0].get_legend_handles_labels()[::-1]))
    order = [*rules, "oracle: upper bound"]
    figure.legend([handles[name] for name in order], order, loc="outside lower center", ncols=min(5, len(order)), handletextpad=0.2)
    return figure


@styled
def plot_stability(table: pd.DataFrame) -> Figure:
    """Rank correlation of heatmaps before and after small changes, mean and 10-90 % band over slices; maps that know no network in grey.

    Parameters
    ----------
    table : DataFrame
        Columns method, change, similarity; one row per slice.
    """
    figure = StudyFigure(figsize=(WIDTH, 2.9))
    axes = figure.subplots()
    changes, methods = list(dict.fromkeys(table["change"])), ordered_methods(table["method"])
    width = 0.8 / len(methods)
    for number, method in enumerate(methods):
        colour = method_colour(method)
        for place, change in enumerate(changes):
            values = table.loc[(table["method"] == method) & (table["change"] == change), "similarity"].to_numpy()
            x = place + (number - (len(methods) - 1) / 2) * width
            axes.plot([x, x], np.percentile(values, [10, 90]), color=colour, lw=2, solid_capstyle="butt")
            axes.plot(x, values.mean(), color=colour, ls="", ms=6, label=name_of(method) if not place else None,
                      marker="o" if method in METHODS else ("s", "^", "v", "D")[number % 4])  # fmt: skip
    axes.axhline(0, color=INK, lw=0.8)
    axes.set(xticks=range(len(changes)), xticklabels=changes, ylabel="rank correlation", ylim=(min(-0.1, axes.get_ylim()[0]), 1.05))
    axes.grid(axis="y")
    figure.legend(loc="outside lower center", ncols=len(methods))
    return figure


@styled
def plot_faithfulness(curves: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]) -> Figure:
    """F13: insertion, deletion, SIC and AIC; methods in colour, baselines grey and dashed, areas beside, best first.

    Parameters
    ----------
    curves : mapping of method -> mapping of curve name -> (x, y)
        Curve names: insertion, deletion, sic, aic. A curve that is NaN throughout is left out.
    """
    told = {
        "insertion": ("Insertion: high is good", "share of pixels shown", "probability of the class"),
        "deletion": ("Deletion: low is good", "share of pixels blackened", "probability of the class"),
        "sic": ("SIC: high is good", "information (0-1)", "normalised probability"),
        "aic": ("AIC: high is good", "information (0-1)", "class still the largest"),
    }
    present = [name for name in told if any(name in of_method for of_method in curves.values())]
    rows = -(-len(present) // 2)
    figure = StudyFigure(figsize=(WIDTH, 0.2 + 2.85 * rows))
    grid = figure.subplots(rows, min(2, len(present)), squeeze=False).flat
    baselines = [method for method in ordered_methods(curves) if method not in METHODS]
    for axes, name in zip(grid, present):
        areas = {}
        for method in ordered_methods(curves):
            x, y = (np.asarray(values, float) for values in curves[method].get(name, ([], [])))
            if np.isfinite(y).any():
                dashes = BASELINE_DASHES[baselines.index(method) % len(BASELINE_DASHES)] if method in baselines else "-"
                axes.plot(x, y, color=method_colour(method), linestyle=dashes, lw=1.2 if method in baselines else 1.8, label=method,
                          zorder=2 if method in baselines else 3)  # fmt: skip
                areas[method] = np.trapezoid(y, x)
        order = sorted(areas, key=areas.get, reverse=name != "deletion")
        handles = {line.get_label(): line for line in axes.lines}
        axes.legend([handles[m] for m in order], [f"{areas[m]:.2f}  {name_of(m)}" for m in order], loc="upper left",
                    bbox_to_anchor=(1.0, 1.03), handlelength=1.7, borderpad=0, labelspacing=0.35)  # fmt: skip
        title, xlabel, ylabel = told[name]
        axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), xlabel=xlabel, ylabel=ylabel, title=title)
        axes.grid()
    for axes in list(grid)[len(present) :] if len(present) % 2 and len(present) > 1 else []:
        axes.set_axis_off()
    return figure


@styled
def plot_sanity(similarity: pd.DataFrame) -> Figure:
    """F14: likeness of the heatmap as layers are randomised from the output down: mean, and the band of 10 to 90 %.

    Parameters
    ----------
    similarity : DataFrame
        Columns ``method, layer_fraction`` (share of layers with random weights, 0-1), ``similarity``.
    """
    figure = StudyFigure(figsize=(WIDTH, 3.4))
    axes = figure.subplots()
    ends = {}
    for method in ordered_methods(similarity["method"]):
        of_method = similarity[similarity["method"] == method].groupby("layer_fraction")["similarity"]
        mean, low, high = of_method.mean(), of_method.quantile(0.1), of_method.quantile(0.9)
        axes.fill_between(mean.index, low, high, color=method_colour(method), alpha=0.12, linewidth=0)
        axes.plot(mean.index, mean, "o-", color=method_colour(method), label=method)
        if mean.notna().any():
            ends[method] = mean.dropna().iloc[-1]
    low, high = axes.get_ylim()
    axes.set(xlim=(-0.02, 1.02), ylim=(min(low, -0.05), max(high, 1.02)))
    span = axes.get_ylim()[1] - axes.get_ylim()[0]
    for method, height in zip(ends, spread(list(ends.values()), gap=0.07 * span)):
        axes.annotate(name_of(method), (1.03, height), color=method_colour(method), va="center", annotation_clip=False)
    axes.axhline(0, color=GREY, lw=0.8, linestyle=":")
    axes.set_xlabel("share of layers with random weights, from the output down")
    axes.set_ylabel("rank correlation with\nthe trained network's heatmap")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(axis="y")
    return figure
