"""The figure of one slice of one's own: what was found on it, on one page."""

from __future__ import annotations

import textwrap
from typing import Mapping

import numpy as np
from matplotlib.figure import Figure

from xai.plotting.base import (
    AMBER, BLUE, GREEN, GREY, INK, LABEL_COLOURS, ORANGE, OUTLINE, PURPLE, WIDTH, StudyFigure, bare, draw_heat, name_of, outline, styled,
)  # fmt: skip


@styled
def plot_explained(
    image: np.ndarray,
    segmentation: np.ndarray,
    heatmaps: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
    chosen: str,
    probabilities: Mapping[str, float],
    atlas: Mapping[str, object] | None = None,
) -> Figure:
    """One slice from picture to place: the slice with both masks, its heatmaps, the calibrated probabilities, the match in MNI152.

    Parameters
    ----------
    image : array (S, S)
    segmentation : array (S, S) of bool
        What the segmentation head marks; dashed.
    heatmaps, masks : mapping of method -> array (S, S)
        The mask of `chosen` is also drawn on the slice.
    probabilities : mapping of class -> probability
    atlas : mapping, optional
        Of `xai.locating.on_atlas`; None where the slice could not be placed.
    """
    columns = 1 + len(heatmaps)
    side = (WIDTH - 0.2) / columns
    figure = StudyFigure(figsize=(WIDTH, side + 0.35 + 2.35))
    above, below = figure.subfigures(2, 1, height_ratios=[side + 0.35, 2.35])
    panels = np.atleast_1d(above.subplots(1, columns))
    panels[0].imshow(image, vmin=0, vmax=255)
    outline(panels[0], masks[chosen], OUTLINE)
    if 0 < np.mean(segmentation) < 1:
        panels[0].contour(np.asarray(segmentation, float), levels=[0.5], colors=[AMBER], linewidths=1.2, linestyles="dashed")
    bare(panels[0])
    panels[0].set_title("slice")
    for axes, (method, heatmap) in zip(panels[1:], heatmaps.items()):
        draw_heat(axes, image, heatmap, masks[method])
        axes.set_title(name_of(method) + (" (chosen)" if method == chosen and len(heatmaps) > 1 else ""))
    panels[0].plot([], [], color=OUTLINE, label="mask of the chosen heatmap")
    panels[0].plot([], [], color=AMBER, linestyle="dashed", label="segmentation head")
    above.legend(loc="outside lower center", ncols=2)
    bars, template = below.subplots(1, 2, width_ratios=[1.0, 1.35])
    _draw_probabilities(bars, probabilities)
    _draw_template(template, atlas)
    return figure


def _draw_probabilities(axes, probabilities: Mapping[str, float]) -> None:
    names = list(probabilities)[::-1]
    for row, name in enumerate(names):
        axes.barh(row, probabilities[name], color=LABEL_COLOURS.get(name, GREY), height=0.55)
        axes.text(probabilities[name] + 0.02, row, f"{100 * probabilities[name]:.0f} %", va="center", fontsize=9, color=INK)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlim=(0, 1.22), title="calibrated probability", xticks=[0, 0.5, 1])
    axes.tick_params(axis="y", length=0)


def _draw_template(axes, atlas: Mapping[str, object] | None) -> None:
    bare(axes)
    axes.set_title("MNI152 at the best place")
    if atlas is None:
        axes.text(0.5, 0.5, "not localisable", transform=axes.transAxes, ha="center", va="center", color=GREY)
        return
    axes.imshow(atlas["template_image"], vmin=0, vmax=np.nanpercentile(atlas["template_image"], 99.5))
    for (label, name), colour in zip(atlas["names"].items(), (BLUE, PURPLE, GREEN, "#F0E442", ORANGE)):
        outline(axes, np.asarray(atlas["label_map"]) == label, colour, width=1.0)
        axes.plot([], [], "s", color=colour, label=textwrap.shorten(name.replace("_", " "), 34, placeholder=" ..."))
    outline(axes, atlas["mask"], OUTLINE)
    if atlas["names"]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handletextpad=0.3, borderpad=0)
