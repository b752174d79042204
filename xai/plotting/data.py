"""Figures of the data: samples (F2), look-alikes, grey values, masks, places, and what a place gives away."""

from __future__ import annotations

import textwrap
from typing import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from xai.data.statistics import planes_in
from xai.paths import LABELS
from xai.plotting.base import (
    BLUE, GREY, INK, LABEL_COLOURS, LABEL_MARKERS, ORANGE, WIDTH, StudyFigure, bare, draw_slice, styled,
)  # fmt: skip

SPLIT_MARKERS = {"train": "o", "validation": "D", "test": "v"}


@styled
def plot_samples(images: np.ndarray, masks: np.ndarray, labels: Sequence[str], planes: Sequence[str]) -> Figure:
    """F2: slices with the drawn tumour as outline; one row per class, its slices ordered by plane."""
    order = planes_in(planes)
    present = [label for label in LABELS if label in set(labels)]
    rows = {label: sorted(np.flatnonzero(np.asarray(labels) == label), key=lambda i: order.index(planes[i])) for label in present}
    columns = max(len(row) for row in rows.values())
    side = WIDTH / max(columns, 3)
    figure = StudyFigure(figsize=(side * columns, len(present) * (side + 0.22)))
    grid = figure.subplots(len(present), columns, squeeze=False)
    for label, axes_row in zip(present, grid):
        for axes in axes_row[len(rows[label]) :]:
            axes.set_axis_off()
        for axes, number in zip(axes_row, rows[label]):
            draw_slice(axes, images[number], masks[number])
            axes.set_title(_plane_name(planes[number]), fontsize=9, pad=3)
        axes_row[0].set_ylabel(label, color=LABEL_COLOURS[label], weight="bold")
    return figure


@styled
def plot_class_places(
    centroids: pd.DataFrame, *, image_size: int, backgrounds: Mapping[str, np.ndarray] | None = None
) -> Figure:
    """Where the tumours of each class lie, by plane: a class that has its own place can be told without being seen.

    Parameters
    ----------
    centroids : DataFrame
        Columns ``label, plane, row, column`` (pixels), one row per slice.
    backgrounds : mapping of plane -> (S, S), optional
        For example the mean slice of a plane, shown faintly.
    """
    planes = planes_in(centroids["plane"])
    figure = StudyFigure(figsize=(WIDTH, (WIDTH - 1.1) / max(len(planes), 3) + 0.95))
    panels = np.atleast_1d(figure.subplots(1, len(planes)))
    for axes, plane in zip(panels, planes):
        here = centroids[centroids["plane"] == plane]
        if backgrounds is not None and plane in backgrounds:
            picture = np.asarray(backgrounds[plane], float)
            axes.imshow(picture, cmap="gray_r", vmin=picture.min(), vmax=picture.max() * 2.5)
        for label in LABELS:
            spots = here[here["label"] == label]
            axes.scatter(spots["column"], spots["row"], s=16, marker=LABEL_MARKERS[label], color=LABEL_COLOURS[label],
                         alpha=0.55, linewidths=0, label=label)  # fmt: skip
        counts = [f"{(here['label'] == label).sum()}" for label in LABELS]
        axes.set_title(f"{_plane_name(plane)}  ({' / '.join(counts)} slices)", fontsize=9)
        axes.set(xlim=(-0.5, image_size - 0.5), ylim=(image_size - 0.5, -0.5), aspect="equal")
        axes.set(xticks=[0, image_size // 2, image_size], yticks=[0, image_size // 2, image_size], xlabel="column (px)")
    panels[0].set_ylabel("row (px)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, markerscale=1.5)
    return figure


@styled
def plot_similarity(nearest: pd.DataFrame, *, threshold: float) -> Figure:
    """How alike each slice and its nearest neighbour are, among the patient's own other slices and among all other patients.

    Parameters
    ----------
    nearest : DataFrame
        Columns ``within, across`` (correlations, NaN where there is no such slice), one row per slice.
    threshold : float
        Correlation from which two slices count as near-duplicates, drawn as a dotted line.
    """
    figure = StudyFigure(figsize=(WIDTH, 2.9))
    axes = figure.subplots()
    kinds = (
        ("across", ORANGE, (0, (4, 1.5)), "nearest slice of another patient"),
        ("within", BLUE, "-", "nearest other slice of the same patient"),
    )
    low = np.nanmin(nearest[["within", "across"]].to_numpy(float), initial=0.9)
    bins = np.linspace(np.floor(10 * low) / 10, 1, 51)
    for kind, colour, dashes, name in kinds:
        values = nearest[kind].dropna()
        if not len(values):
            continue
        axes.hist(values, bins, weights=np.full(len(values), 1 / len(values)), histtype="stepfilled", facecolor=(colour, 0.18),
                  edgecolor=colour, lw=1.6, linestyle=dashes, label=f"{name}: median {values.median():.2f}")  # fmt: skip
    axes.axvline(threshold, color=INK, lw=0.9, linestyle=":")
    axes.annotate(f"near-duplicates above {threshold:g}", (threshold, 1), xycoords=("data", "axes fraction"), xytext=(-4, -2),
                  textcoords="offset points", ha="right", va="top", fontsize=9, color=GREY)  # fmt: skip
    axes.margins(y=0.18)  # room for the words
    axes.set(xlim=(bins[0], 1), ylim=(0, None), xlabel="correlation of the two slices' thumbnails", ylabel="share of slices")
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y")
    if axes.patches:
        figure.legend(loc="outside upper left", ncols=2, handlelength=1.4, columnspacing=1.2)
    return figure


@styled
def plot_pairs(groups: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray, str]]]) -> Figure:
    """Pairs of slices side by side, a row of pairs for each group.

    Parameters
    ----------
    groups : mapping of heading -> sequence of (image (S, S), image (S, S), caption)
        At most three pairs of a group are shown.
    """
    columns, gap = 3, 0.12
    figure = StudyFigure(figsize=(WIDTH, 1.66 * len(groups)))
    grid = figure.add_gridspec(len(groups), 3 * columns - 1, width_ratios=([1, 1, gap] * columns)[:-1])
    figure.get_layout_engine().set(w_pad=0.01, wspace=0.0)
    for row, (heading, pairs) in enumerate(groups.items()):
        for number in range(columns):
            left, right = (figure.add_subplot(grid[row, 3 * number + side]) for side in (0, 1))
            if number == 0:
                left.annotate(heading, (0, 1), xycoords="axes fraction", xytext=(0, 18), textcoords="offset points", weight="bold")
            if number >= len(pairs):
                left.set_axis_off()
                right.set_axis_off()
                if number == 0:
                    left.text(0, 0.5, "there is no such pair", transform=left.transAxes, color=GREY, fontsize=9)
                continue
            for axes, image in zip((left, right), pairs[number]):
                # The correlation ignores brightness, and so may the eye.
                axes.imshow(image, vmin=0, vmax=np.percentile(image, 99.5) or 1)
                bare(axes)
            left.set_title(pairs[number][2], fontsize=9, pad=4)
    return figure


@styled
def plot_intensities(statistics: pd.DataFrame) -> Figure:
    """Grey values of tissue, background and tumour contrast by plane and class: boxes over slices, marks for medians of the splits."""
    return _measures(statistics, (
        ("tissue_mean", "mean of the tissue (0-255)"), ("tissue_sd", "standard deviation of the tissue"),
        ("background_percent", "background, % of the image"), ("contrast_percent", "tumour minus tissue, % of tissue"),
    ))  # fmt: skip


@styled
def plot_masks(statistics: pd.DataFrame) -> Figure:
    """Masks by plane and class: area and longest side as boxes over slices, and how many are in pieces or cut by the image's edge."""
    area = statistics["area_percent"]
    drawn = statistics.assign(area_percent=area.where(area > 0))  # an empty mask has no size
    figure = _measures(drawn, (
        ("area_percent", "area, % of the image (log scale)"), ("extent_percent", "longest side, % of the image's side"),
        ("in_pieces", "masks in several pieces, %"), ("touches_border", "masks on the image's edge, %"),
    ))  # fmt: skip
    if (area > 0).any():
        axes = figure.axes[0]
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    return figure


@styled
def plot_outliers(images: np.ndarray, masks: np.ndarray, titles: Sequence[str], *, columns: int = 4) -> Figure:
    """Flagged slices with their masks, `titles` above them; a note where there are none."""
    rows = max(1, -(-len(images) // columns))
    side = WIDTH / columns
    figure = StudyFigure(figsize=(WIDTH, rows * (side + 0.5) if len(images) else 0.6))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(images) :]:
        axes.set_axis_off()
    for axes, image, mask, title in zip(grid.flat, images, masks, titles):
        draw_slice(axes, image, mask)
        lines = [textwrap.fill(line, 23) for line in title.splitlines()]
        axes.set_title("\n".join(lines), fontsize=9, pad=3, linespacing=1.05)
    if not len(images):
        grid[0, 0].text(0, 0.5, "no slice is flagged", transform=grid[0, 0].transAxes, color=GREY)
    return figure


@styled
def plot_shortcut(table: pd.DataFrame) -> Figure:
    """What plane and place give away: score of classifiers that see no image, with 95 % intervals over patients.

    Parameters
    ----------
    table : DataFrame
        Of `xai.data.shortcut.shortcut_table`: ``sees, classifier`` and ``accuracy, glioma, meningioma, pituitary`` with ``_low,
        _high``.
    """
    panels = (("accuracy", INK, "accuracy"), *((label, LABEL_COLOURS[label], f"{label} found") for label in LABELS))
    names = [f"sees {sees}\n{how}" for sees, how in zip(table["sees"], table["classifier"])]
    rows = np.arange(len(table))[::-1]
    figure = StudyFigure(figsize=(WIDTH, 1.0 + 0.42 * max(len(table), 1)))
    grid = figure.subplots(1, len(panels), sharey=True)
    for axes, (column, colour, title) in zip(grid, panels):
        axes.hlines(rows, table[f"{column}_low"], table[f"{column}_high"], color=colour, alpha=0.4, lw=3)
        axes.scatter(table[column], rows, s=26, color=colour, zorder=3)
        axes.set_title(title, fontsize=9)
        axes.set(xlim=(-0.04, 1.04), xticks=(0, 0.5, 1), ylim=(-0.6, max(len(table), 1) - 0.4))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
    grid[0].set_yticks(rows, names)
    if not len(table):
        grid[0].text(0, 0, "too few patients", transform=grid[0].transData, color=GREY, fontsize=9)
    figure.supxlabel("training slices told right without an image, 95 % interval over patients", fontsize=9)
    return figure


def _plane_name(plane: str) -> str:
    return "plane unknown" if plane == "unknown" else plane


def _measures(statistics: pd.DataFrame, measures: Sequence[tuple[str, str]]) -> Figure:
    """One panel per measure: a box per plane and class, and a mark for the median of each split."""
    planes = planes_in(statistics["plane"])
    # A row of shares needs less height than one of boxes.
    heights = [1.5 if statistics[column].dtype == bool else 2.55 for column, _ in measures[::2]]
    figure = StudyFigure(figsize=(WIDTH, sum(heights) + 0.35))
    for axes, (column, title) in zip(figure.subplots(len(heights), 2, height_ratios=heights).flat, measures):
        axes.set_title(title, fontsize=9)
        axes.grid(axis="y")
        for place, plane in enumerate(planes):
            for number, label in enumerate(LABELS):
                part = statistics[(statistics["plane"] == plane) & (statistics["label"] == label)]
                draw = _bar if statistics[column].dtype == bool else _box
                draw(axes, place + 0.27 * (number - 1), part, column, LABEL_COLOURS[label])
        axes.set(xlim=(-0.5, len(planes) - 0.5))
        axes.set_xticks(range(len(planes)), [_plane_name(plane) for plane in planes])
        axes.tick_params(axis="x", length=0)
    marks = [Line2D([], [], color=colour, lw=6, alpha=0.45, label=label) for label, colour in LABEL_COLOURS.items()]
    marks += [Line2D([], [], linestyle="", marker=marker, color=INK, ms=4, label=f"median of {split}")
              for split, marker in SPLIT_MARKERS.items()]  # fmt: skip
    figure.legend(handles=marks, loc="outside lower center", ncols=6, columnspacing=1.1, handletextpad=0.4, handlelength=1.2)
    return figure


def _box(axes: Axes, x: float, part: pd.DataFrame, column: str, colour: str) -> None:
    """Middle half as a box, 5th to 95th percentile as a whisker, slices beyond as dots, medians of the splits as marks."""
    values = part[column].dropna().to_numpy(float)
    if not len(values):
        return
    axes.boxplot(
        values, positions=[x], widths=0.22, whis=(5, 95), patch_artist=True, manage_ticks=False,
        boxprops={"facecolor": (colour, 0.35), "edgecolor": colour}, medianprops={"color": colour, "lw": 1.6},
        whiskerprops={"color": colour}, capprops={"color": colour},
        flierprops={"marker": ".", "ms": 2.5, "mec": "none", "mfc": colour, "alpha": 0.4},
    )  # fmt: skip
    medians = part.groupby("split")[column].median()
    for number, (split, marker) in enumerate(SPLIT_MARKERS.items()):
        if split in medians:
            axes.plot(x + 0.06 * (number - 1), medians[split], marker, color=INK, ms=3.2, mew=0, zorder=4)


def _bar(axes: Axes, x: float, part: pd.DataFrame, column: str, colour: str) -> None:
    """Share of the slices for which it is true, with their number above it."""
    if len(part):
        share = 100 * part[column].mean()
        axes.bar(x, share, width=0.22, facecolor=(colour, 0.35), edgecolor=colour)
        axes.annotate(f"{part[column].sum()}", (x, share), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=9,
                      color=colour)  # fmt: skip
        axes.set_ylim(0, max(5.0, axes.get_ylim()[1], 1.25 * share))
