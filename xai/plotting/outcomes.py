"""Figures of places and reports: F10 to F12."""

from __future__ import annotations

import textwrap
import unicodedata
from typing import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from xai.paths import LABELS, PLANES
from xai.plotting.base import (
    AMBER, BLUE, GREEN, GREY, INK, LIGHT, ORANGE, OUTLINE, PURPLE, SKY, WIDTH, StudyFigure, bare, draw_slice, name_of,
    outline, spread, styled,
)  # fmt: skip


@styled
def plot_atlas(
    image: np.ndarray,
    mask: np.ndarray,
    template_image: np.ndarray,
    label_map: np.ndarray,
    names: Mapping[int, str],
    positions_mm: np.ndarray,
    weights: np.ndarray,
    *,
    axis_name: str = "z",
) -> Figure:
    """F10: the slice, its best match in MNI152 with the named regions, and how sure the place is.

    Parameters
    ----------
    image, mask : array (S, S)
        The slice and the mask that is named.
    template_image, label_map : array (T, T)
        Template and atlas labels (0: none) at the best place; the mask is drawn there too if it has the same shape,
        that is, if both were resampled onto the slice.
    names : mapping of label -> region name
        The regions to show, most probable first.
    positions_mm, weights : array (K,)
        Candidate places along the plane's axis and their weights, which sum to 1.
    """
    figure = StudyFigure(figsize=(WIDTH, 4.1))
    panels = figure.subplot_mosaic([["slice", "template"], ["place", "place"]], height_ratios=[2.4, 1.0])
    draw_slice(panels["slice"], image, mask)
    panels["slice"].set_title("slice with mask")
    template = panels["template"]
    template.imshow(template_image, vmin=0, vmax=np.nanpercentile(template_image, 99.5))
    colours = (AMBER, PURPLE, GREEN, "#F0E442", ORANGE)
    for number, (label, name) in enumerate(names.items()):
        region = np.asarray(label_map) == label
        colour = colours[number % len(colours)]
        fill = np.zeros((*region.shape, 4))
        fill[region] = (*[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)], 0.45)
        template.imshow(fill)
        outline(template, region, colour, width=0.9)
        template.plot([], [], "s", color=colour, label=textwrap.fill(name, 26))
    if np.shape(mask) == np.shape(template_image):
        outline(template, mask, OUTLINE)
    bare(template)
    template.set_title("MNI152 at the best place")
    if names:
        template.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handletextpad=0.3, borderpad=0)
    order = np.argsort(positions_mm)
    positions, weights = np.asarray(positions_mm, float)[order], np.asarray(weights, float)[order]
    place = panels["place"]
    place.vlines(positions, 0, weights, color=BLUE, lw=2.2)
    place.plot(positions, weights, "o", color=BLUE, ms=4)
    mean = np.average(positions, weights=weights)
    spread = np.sqrt(np.average((positions - mean) ** 2, weights=weights))
    place.axvspan(mean - spread, mean + spread, color=SKY, alpha=0.25, linewidth=0)
    place.set_title(f"{axis_name} = {mean:.0f} mm, standard deviation {spread:.1f} mm", fontsize=9)
    place.set(xlabel=f"MNI {axis_name} of the candidate places (mm)", ylabel="weight", ylim=(0, None))
    place.margins(x=0.1)
    return figure


@styled
def plot_places(cases: Sequence) -> Figure:
    """A row for each placed slice, a column for each plane of the template: best place, its spread, other candidates, mask.

    Parameters
    ----------
    cases : sequence of xai.atlas_viewer.PlacedCase
    """
    side = WIDTH / 3
    figure = StudyFigure(figsize=(WIDTH, len(cases) * (side * 1.05 + 0.3)))
    for row, case in zip(figure.subplots(len(cases), 3, squeeze=False), cases):
        for axes, view in zip(row, case.views):
            axes.imshow(view.image, vmin=0, vmax=255)
            for line, weight in list(zip(view.lines, case.weights))[:0:-1]:
                axes.plot(*line.T, color=AMBER, lw=0.7, alpha=0.35 + 0.65 * float(weight) / float(max(case.weights)))
            if view.lines:
                axes.fill(*view.band.T, color=SKY, alpha=0.55, linewidth=0)
                axes.plot(*view.lines[0].T, color=SKY, lw=1.6)
            for contour in view.outlines:
                axes.plot(*contour.T, color=AMBER, lw=1.4)
            axes.plot(*view.point, "o", color=ORANGE, ms=4)
            axes.set(xlim=(-0.5, view.image.shape[1] - 0.5), ylim=(view.image.shape[0] - 0.5, -0.5))
            bare(axes)
            axes.set_title(f"{view.plane} view, {'zyx'[PLANES.index(view.plane)]} = {round(view.level_mm)} mm", fontsize=8)
        row[0].set_ylabel(case.name, fontsize=8)
    return figure


@styled
def plot_levels(levels: pd.DataFrame) -> Figure:
    """Where a slice is placed along its plane's axis against where the other two planes see the tumour: a dot for each patient, by class.

    Parameters
    ----------
    levels : DataFrame
        Columns ``label``, ``plane``, ``level, mm`` and ``the other two apart, mm``, as ``results/localisation/levels.csv`` has them. The bar is the
        median; the band around zero reaches as far as the other two planes are apart in the median.
    """
    figure = StudyFigure(figsize=(WIDTH, 3.2))
    reach = 1.05 * levels["level, mm"].abs().max()
    generator = np.random.default_rng(0)  # jitter only keeps dots apart
    towards = {"axial": "above", "coronal": "in front", "sagittal": "further out"}  # y to the front, z up; of x only the size is known
    for axes, plane in zip(figure.subplots(1, 3, sharey=True), PLANES):
        part = levels[levels["plane"] == plane]
        apart = part["the other two apart, mm"].abs().median()
        axes.axhspan(-apart, apart, color=LIGHT, linewidth=0, zorder=0)
        axes.axhline(0, color=GREY, lw=0.8)
        present = [label for label in LABELS if label in set(part["label"])]
        for number, label in enumerate(present):
            values = part.loc[part["label"] == label, "level, mm"].to_numpy()
            axes.plot(number + generator.uniform(-0.22, 0.22, len(values)), values, "o", color=SKY, ms=4, alpha=0.7, mew=0)
            axes.hlines(np.median(values), number - 0.34, number + 0.34, color=BLUE, lw=2.4, zorder=3)
        axes.set_xticks(range(len(present)), present, fontsize=8)
        axes.set(title=plane, ylim=(-reach, reach), xlim=(-0.6, len(present) - 0.4))
        axes.annotate(f"{towards[plane]} ↑", (0.02, 0.98), xycoords="axes fraction", va="top", fontsize=8, color=GREY)
    figure.axes[0].set_ylabel("level against the other two planes, mm")
    return figure


@styled
def plot_interval_width(held: pd.DataFrame) -> Figure:
    """How often the 90 % interval holds a slice's level, by heads and plane: by the likely places' own spread (open), and by the one stated (filled).

    Parameters
    ----------
    held : DataFrame
        Columns ``heads``, ``role``, ``plane``, ``own 90 % interval holds the level`` and ``90 % interval holds the level``, as
        ``results/localisation/interval_width.csv`` has them. The band is .85 to .95.
    """
    names = held["heads"] + ", " + held["role"]
    rows = list(dict.fromkeys(names))
    figure = StudyFigure(figsize=(WIDTH, 1.1 + 0.27 * len(rows)))
    panels = figure.subplots(1, 3, sharey=True)
    for axes, plane in zip(panels, PLANES):
        axes.axvspan(0.85, 0.95, color=LIGHT, linewidth=0, zorder=0)
        part = held[held["plane"] == plane]
        at = [rows.index(name) for name in names[part.index]]
        own, stated = part["own 90 % interval holds the level"], part["90 % interval holds the level"]
        axes.hlines(at, own, stated, color=SKY, lw=1.2)
        axes.plot(own, at, "o", ms=5, color=BLUE, mfc="white", label="own spread")
        axes.plot(stated, at, "o", ms=5, color=BLUE, label="stated")
        axes.set(title=plane, xlim=(min(0.6, held[own.name].min() - 0.03), 1.03), ylim=(len(rows) - 0.5, -0.5))
    panels[0].set_yticks(range(len(rows)), rows, fontsize=8)
    panels[2].legend(loc="lower left", fontsize=8)
    figure.supxlabel("share of slices whose level the interval holds", fontsize=9)
    return figure


@styled
def plot_localisation(errors: pd.DataFrame) -> Figure:
    """Distance of the found from the true place by plane: each case a dot, the median a thick bar, the 90th percentile a thin one."""
    planes = [plane for plane in PLANES if plane in set(errors["plane"])]
    figure = StudyFigure(figsize=(WIDTH, 3.3))
    panels = figure.subplots(1, 2)
    generator = np.random.default_rng(0)  # jitter only keeps dots apart
    for axes, column, title in zip(panels, ("through_plane_mm", "in_plane_mm"), ("through the plane", "within the plane")):
        for number, plane in enumerate(planes):
            values = errors.loc[errors["plane"] == plane, column].dropna().abs().to_numpy()
            if not len(values):
                continue
            axes.plot(number + generator.uniform(-0.2, 0.2, len(values)), values, "o", color=SKY, ms=4, alpha=0.6, mew=0)
            median, ninth = np.percentile(values, [50, 90])
            axes.hlines(median, number - 0.32, number + 0.32, color=BLUE, lw=2.4, zorder=3)
            axes.hlines(ninth, number - 0.32, number + 0.32, color=BLUE, lw=1.2, zorder=3)
            for height, text in zip(spread([median, ninth], gap=0.06 * errors[column].abs().max()), (f"{median:.1f}", f"{ninth:.1f}")):
                axes.text(number + 0.36, height, text, color=BLUE, va="center", fontsize=9)
        counts = [int((errors["plane"] == plane).sum()) for plane in planes]
        axes.set_xticks(range(len(planes)), [f"{plane}\nn = {count}" for plane, count in zip(planes, counts)])
        axes.set(title=title, ylabel="distance (mm)", xlim=(-0.5, len(planes) - 0.2), ylim=(0, None))
        axes.grid(axis="y")
    return figure


@styled
def plot_error_map(errors: pd.DataFrame, outlines: Mapping[str, Sequence[np.ndarray]], *, cell_mm: float = 12.0, least: int = 20, top_mm: float = 15.0) -> Figure:
    """How far off points of the brain are placed, by where they lie: a row for each set of heads and plane of slices, a column for each view.

    Parameters
    ----------
    errors : DataFrame
        heads, plane, view, across, along (a cell's centre, mm), points, mm (mean error); cells of fewer than `least` points stay empty.
    outlines : mapping of view -> contours of the brain, each (P, 2): across, along, mm
    """
    rows = list(errors.groupby(["heads", "plane"], sort=False))
    figure = StudyFigure(figsize=(WIDTH, 1.72 * len(rows) + 0.75))
    grid = figure.subplots(len(rows), len(outlines), squeeze=False)
    for panels, ((heads, plane), part) in zip(grid, rows):
        for axes, (view, contours) in zip(panels, outlines.items()):
            cells = part[(part["view"] == view) & (part["points"] >= least)]
            corners = [cells[name].to_numpy() - cell_mm / 2 for name in ("across", "along")]
            boxes = [[(x, y), (x + cell_mm, y), (x + cell_mm, y + cell_mm), (x, y + cell_mm)] for x, y in zip(*corners)]
            mesh = PolyCollection(boxes, array=cells["mm"].to_numpy(float), cmap="cividis_r", clim=(0, top_mm), edgecolors="face", linewidths=0.3)
            axes.add_collection(mesh)
            for contour in contours:
                axes.plot(*contour.T, color=INK, lw=0.9)
            axes.set(aspect="equal")
            axes.autoscale_view()
            bare(axes)
        panels[0].set_ylabel(f"{heads}\n{plane} slices", fontsize=8)
    for axes, view in zip(grid[0], outlines):
        axes.set_title(f"{view} view", fontsize=9)
    figure.colorbar(mesh, ax=grid, orientation="horizontal", shrink=0.5, aspect=35, extend="max", label="mean distance of found from true place (mm)")
    return figure


@styled
def plot_reports(findings: str, prompt: str, reports: Mapping[str, str | None], *, max_lines: int = 44) -> Figure:
    """F11: the findings, an excerpt of the prompt, and what each writer made of them; None reads "not run".

    Texts are drawn as they are: nothing in them is taken for markup.
    """
    panels = [("Findings (JSON)", findings, GREY, True), ("Prompt (excerpt)", prompt, GREY, True)]
    panels += [(name_of(w), text if text else "not run", BLUE if text else GREY, False) for w, text in reports.items()]
    pairs = [panels[number : number + 2] for number in range(0, len(panels), 2)]
    fonts = {mono: FontProperties(family="DejaVu Sans Mono" if mono else "DejaVu Sans", size=9) for mono in (True, False)}
    points = 72 * (WIDTH / 2 - 0.5)  # leaves room for hinting, which widens small text on a screen
    wrapped = [[_wrap(text, points, fonts[mono], max_lines) for _, text, _, mono in pair] for pair in pairs]
    heights = [max(text.count("\n") + 1 for text in texts) * 0.158 + 0.62 for texts in wrapped]
    figure = StudyFigure(figsize=(WIDTH, sum(heights)))
    grid = figure.subplots(len(pairs), 2, squeeze=False, height_ratios=heights)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, _, colour, mono), text in zip(grid.flat, panels, (text for texts in wrapped for text in texts)):
        axes.set(xticks=[], yticks=[], ylim=(0, 1), facecolor="#F7F7F7")
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.axhline(1, color=colour, lw=4)
        axes.annotate(title, (0, 1), (7, -8), "axes fraction", "offset points", va="top", weight="bold", color=colour)
        body = axes.annotate(text, (0, 1), (7, -28), "axes fraction", "offset points", va="top", parse_math=False,
                             linespacing=1.25, fontproperties=fonts[mono], color=GREY if text == "not run" else INK)  # fmt: skip
        body.set_in_layout(False)  # the panels are sized for the text, not by it
    return figure


@styled
def plot_writers(writers: pd.DataFrame) -> Figure:
    """F12: the writers by each measure, mean and 95 % interval; one that was not run says so."""
    good = {"mtld": "higher: more varied", "ttr": "higher: more varied", "coherence": "higher: more coherent", "flesch": "higher: easier",
            "fkgl": "lower: easier", "fact_precision": "higher: better", "fact_recall": "higher: better", "unsupported": "lower: better"}  # fmt: skip
    metrics = [metric for metric in good if metric in writers]
    table = writers.iloc[::-1].reset_index(drop=True)
    columns = min(4, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = StudyFigure(figsize=(WIDTH, rows * (0.95 + 0.27 * len(table))))
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, metric in zip(grid.flat, metrics):
        for row, line in table.iterrows():
            if pd.isna(line[metric]):
                axes.text(0.5, row, "not run", transform=axes.get_yaxis_transform(), ha="center", va="center", color=GREY, fontsize=9)
                continue
            axes.hlines(row, line.get(f"{metric}_low", np.nan), line.get(f"{metric}_high", np.nan), color=SKY, lw=2.4)
            axes.plot(line[metric], row, "o", color=BLUE)
        axes.set_title(name_of(metric), fontsize=9)
        axes.set_xlabel(good[metric], fontsize=9)
        axes.set_ylim(-0.6, len(table) - 0.4)
        axes.grid(axis="x")
        axes.margins(x=0.12)
        axes.xaxis.get_major_locator().set_params(nbins=3)
        axes.tick_params(axis="y", length=0)
    for axes in list(grid.flat)[len(metrics) :]:
        axes.set_axis_off()
    grid[0, 0].set_yticks(range(len(table)), [name_of(writer) for writer in table["writer"]])
    return figure


def _wrap(text: str, points: float, font: FontProperties, max_lines: int) -> str:
    """Wrap to a width in points, keep indentation, cut at `max_lines`, and drop control characters a font cannot show."""
    clean = "".join(c for c in text.expandtabs(2) if c == "\n" or unicodedata.category(c)[0] != "C")
    lines: list[str] = []
    for line in clean.strip("\n").split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        lines.append(indent)
        for word in line.split():
            longer = lines[-1] + (" " if lines[-1].strip() else "") + word
            if lines[-1].strip() and _text_width(longer, font) > points:
                longer = indent + ("  " if indent else "") + word
                lines.append(longer)
            while _text_width(longer, font) > points and len(longer) > 1:  # one word wider than the panel
                cut = max(1, int(len(longer) * points / _text_width(longer, font)) - 1)
                lines[-1], longer = longer[:cut], longer[cut:]
                lines.append(longer)
            lines[-1] = longer
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], "[...]"]
    return "\n".join(lines)


def _text_width(text: str, font: FontProperties) -> float:
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]
