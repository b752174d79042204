"""Drawings of the pipeline (F1) and of a hybrid network (F3)."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle

from xai.paths import LABELS
from xai.plotting.base import AMBER, BLUE, GREEN, GREY, HEAT, ORANGE, PURPLE, SKY, WIDTH, StudyFigure, styled


@styled
def plot_pipeline() -> Figure:
    """F1: the three stages, from slice to report."""
    stages = (
        ("1  See", BLUE, (("MRI slice", "contrast-enhanced T1", _icon_slice),
                          ("Hybrid network", "class and mask,\nnine encoders", _icon_network),
                          ("Heatmap", "three class\nactivation maps", _icon_heatmap))),
        ("2  Place", GREEN, (("Tumour mask", "percentile threshold,\nclean-up", _icon_mask),
                             ("MNI152", "best matching places,\nweighted", _icon_match),
                             ("Harvard-Oxford", "names with\nprobabilities", _icon_atlas))),
        ("3  Tell", ORANGE, (("Findings", "JSON with a schema", _icon_json),
                             ("Writers", "language models,\nsame prompt", _icon_writers),
                             ("Report", "every claim checked", _icon_report))),
    )  # fmt: skip
    figure = StudyFigure(figsize=(WIDTH, 5.1))
    axes = _canvas(figure, 9.0, 6.4)
    for row, (title, colour, boxes) in enumerate(stages):
        top = 6.3 - row * 2.15
        axes.add_patch(_box(0.05, top - 1.85, 8.9, 1.85, colour, alpha=0.08))
        axes.text(0.25, top - 0.92, title, color=colour, fontsize=12, weight="bold", va="center")
        for column, (name, detail, icon) in enumerate(boxes):
            left = 1.55 + column * 2.5
            axes.add_patch(_box(left, top - 1.72, 2.2, 1.59, colour, face="white"))
            icon(axes, left + 1.1, top - 0.52, colour)
            axes.text(left + 1.1, top - 1.05, name, ha="center", va="center", weight="bold")
            axes.text(left + 1.1, top - 1.27, detail, ha="center", va="top", fontsize=9,
                      color="#444444", linespacing=1.1)  # fmt: skip
            if column < 2:
                _arrow(axes, (left + 2.22, top - 0.92), (left + 2.48, top - 0.92), colour)
        if row < 2:
            _arrow(axes, (7.65, top - 1.74), (7.65, top - 2.0), colour, head=True)
            axes.plot([2.65, 7.65], [top - 2.0, top - 2.0], color=colour, lw=1.4)
            _arrow(axes, (2.65, top - 2.0), (2.65, top - 2.26), colour)
    return figure


@styled
def plot_hybrid(
    features: Sequence[tuple[str, int, int]],
    decoder: Sequence[int],
    *,
    image_size: int,
    target_layer: str | None = None,
    labels: Sequence[str] = LABELS,
) -> Figure:
    """F3: encoder, classification head, and decoder with its skip connections.

    Parameters
    ----------
    features : sequence of (layer name, channels, stride)
        Encoder layers that feed the decoder, from shallow to deep.
    target_layer : str, optional
        Name of the layer that the heatmaps explain; marked among the features, or else it is what the class head pools under the mask.
    decoder : sequence of int
        Channels of the decoder's blocks, from deep to shallow; block k joins the k-th deepest feature but one.
    """
    figure = StudyFigure(figsize=(WIDTH, 3.45))
    count = len(features)
    step = 6.6 / max(count, 1)
    axes = _canvas(figure, 10.0, 4.7)
    top, bottom = 3.5, 1.15

    def height(stride: float) -> float:
        return 1.75 / (1 + 0.42 * np.log2(max(stride, 2)))

    def block(x: float, y: float, stride: float, channels: int, colour: str) -> float:
        width = 0.16 + 0.055 * np.log2(channels)
        axes.add_patch(_box(x - width / 2, y - height(stride) / 2, width, height(stride), colour, alpha=0.85))
        return width / 2

    _icon_slice(axes, 0.5, top, GREY, scale=1.7)
    axes.text(0.5, top - 0.6, f"{image_size} x {image_size}", ha="center", va="top", fontsize=9)
    axes.text(0.5, top + 0.68, "Encoder", color=BLUE, weight="bold", ha="center")
    places, previous = [], 1.0
    for number, (name, channels, stride) in enumerate(features):
        x = 1.6 + number * step
        half = block(x, top, stride, channels, BLUE)
        _arrow(axes, (previous, top), (x - half - 0.04, top), GREY)
        previous = x + half + 0.04
        places.append(x)
        target = name == target_layer
        axes.text(x, top + height(stride) / 2 + 0.1, f"{channels}", ha="center", va="bottom", fontsize=9)
        axes.text(x, top - height(stride) / 2 - 0.08, f"1/{stride:.0f}", ha="center", va="top", fontsize=9, color="#444444")
        if target:
            axes.text(x, top + height(stride) / 2 + 0.38, f"target layer\n{name}", ha="center", va="bottom", fontsize=9, color=BLUE, linespacing=1.0)
    under_mask = target_layer is not None and target_layer not in {name for name, _, _ in features}
    if not under_mask:
        _arrow(axes, (previous, top), (8.35, top), GREY)
    axes.add_patch(_box(8.38, top - 0.75, 1.57, 1.5, ORANGE, alpha=0.1))
    axes.text(9.16, top + 0.85, "Class head", color=ORANGE, weight="bold", ha="center")
    pooling = f"{target_layer}:\nproduct, mean" if under_mask else "average pool"
    axes.text(9.16, top, f"{pooling}\nlinear layer\n\n" + "\n".join(labels), ha="center", va="center", fontsize=9, linespacing=1.05)
    axes.text(0.5, bottom - 0.6, "Decoder", color=GREEN, weight="bold", ha="center", va="top")
    joined = list(zip(range(count - 2, -1, -1), decoder)) or [(0, channels) for channels in decoder[:1]]
    previous_x, previous_y = places[-1], top - height(features[-1][2]) / 2 - 0.78
    for order, (number, channels) in enumerate(joined):
        x, stride = places[number], features[number][2]
        half = block(x, bottom, stride, channels, GREEN)
        if order == 0:
            axes.plot([previous_x, previous_x], [previous_y, bottom], color=GREY, lw=1.4)
            previous = previous_x
        _arrow(axes, (previous, bottom), (x + half + 0.04, bottom), GREY)
        _arrow(axes, (x, top - height(stride) / 2 - 0.38), (x, bottom + height(stride) / 2 + 0.28), SKY, dashed=True)
        axes.text(x, bottom + height(stride) / 2 + 0.04, f"{channels}", ha="center", va="bottom", fontsize=9)
        previous = x - half - 0.04
    _arrow(axes, (previous, bottom), (1.02, bottom), GREY)
    _icon_mask(axes, 0.5, bottom, GREEN, scale=1.7)
    if under_mask:
        deepest, stride = places[joined[0][0]], features[joined[0][0]][2]
        start = bottom - height(stride) / 2
        for x, y, path, text in ((8.75, start - 0.1, [(deepest, start), (deepest, start - 0.1)], "features"), (9.55, 0.36, [(1.08, bottom - 0.3), (1.08, 0.36)], "mask")):
            axes.plot(*zip(*path, (x, y)), color=ORANGE, lw=1.4, solid_joinstyle="round")
            _arrow(axes, (x, y), (x, top - 0.78), ORANGE)
            axes.text(x - 0.08, 1.75, text, rotation=90, ha="right", va="center", fontsize=9, color=ORANGE)
    axes.text(5.6, 0.02, "numbers: channels   1/n: size of the map   dashed: skip connection",
              ha="center", va="bottom", fontsize=9, color="#444444")  # fmt: skip
    return figure


def _canvas(figure: Figure, width: float, height: float) -> Axes:
    axes = figure.subplots()
    axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    axes.set_axis_off()
    return axes


def _box(x: float, y: float, width: float, height: float, colour: str, *, face: str | None = None, alpha: float = 1.0) -> FancyBboxPatch:
    rounding = min(0.12, width / 6)
    return FancyBboxPatch(
        (x + rounding, y + rounding), width - 2 * rounding, height - 2 * rounding, boxstyle=f"round,pad={rounding}",
        facecolor=face or colour, edgecolor=colour if face else "none", linewidth=1.0, alpha=alpha,
    )  # fmt: skip


def _arrow(axes: Axes, start, end, colour: str, *, dashed: bool = False, head: bool = False) -> None:
    shape = "-" if head else "-|>,head_length=0.35,head_width=0.2"
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle=shape, mutation_scale=11, color=colour, lw=1.4, shrinkA=0, shrinkB=0,
                                   linestyle=(0, (3, 2)) if dashed else "-"))  # fmt: skip


def _icon_slice(axes: Axes, x: float, y: float, colour: str, scale: float = 1.0) -> None:
    axes.add_patch(Rectangle((x - 0.3 * scale, y - 0.32 * scale), 0.6 * scale, 0.64 * scale, color="black"))
    axes.add_patch(Ellipse((x, y), 0.44 * scale, 0.54 * scale, facecolor="#8C8C8C", edgecolor="#D0D0D0", lw=1.4))
    axes.add_patch(Circle((x + 0.09 * scale, y + 0.08 * scale), 0.08 * scale, color="white"))


def _icon_network(axes: Axes, x: float, y: float, colour: str) -> None:
    for number, height in enumerate((0.62, 0.44, 0.28)):
        axes.add_patch(Rectangle((x - 0.5 + 0.2 * number, y - height / 2), 0.12, height, color=colour))
    for sign in (1, -1):
        _arrow(axes, (x + 0.08, y), (x + 0.38, y + 0.2 * sign), colour)
    axes.add_patch(Circle((x + 0.48, y + 0.2), 0.08, color=ORANGE))
    axes.add_patch(Rectangle((x + 0.4, y - 0.29), 0.16, 0.16, color=GREEN))


def _icon_heatmap(axes: Axes, x: float, y: float, colour: str) -> None:
    axes.add_patch(Rectangle((x - 0.3, y - 0.32), 0.6, 0.64, color=colormaps[HEAT](0.0)))
    for radius, value in ((0.24, 0.3), (0.18, 0.5), (0.12, 0.75), (0.06, 0.97)):
        axes.add_patch(Circle((x + 0.05, y + 0.05), radius, color=colormaps[HEAT](value)))


def _icon_mask(axes: Axes, x: float, y: float, colour: str, scale: float = 1.0) -> None:
    axes.add_patch(Rectangle((x - 0.3 * scale, y - 0.32 * scale), 0.6 * scale, 0.64 * scale, color="black"))
    axes.add_patch(Circle((x + 0.09 * scale, y + 0.08 * scale), 0.09 * scale, color="white"))


def _icon_match(axes: Axes, x: float, y: float, colour: str) -> None:
    for number in range(4):
        face = colour if number == 2 else "white"
        axes.add_patch(Ellipse((x - 0.36 + 0.24 * number, y), 0.3, 0.56, facecolor=face, edgecolor=colour, lw=1.2))


def _icon_atlas(axes: Axes, x: float, y: float, colour: str) -> None:
    brain = Ellipse((x, y), 0.52, 0.62, facecolor="white", edgecolor=colour, lw=1.4)
    axes.add_patch(brain)
    for corner, shade in (((0, 1), AMBER), ((1, 1), PURPLE), ((0, 0), SKY), ((1, 0), GREEN)):
        part = Rectangle((x - 0.3 + 0.3 * corner[0], y - 0.34 + 0.34 * corner[1]), 0.3, 0.34, color=shade, alpha=0.75)
        axes.add_patch(part)
        part.set_clip_path(brain)


def _icon_json(axes: Axes, x: float, y: float, colour: str) -> None:
    axes.text(x, y, "{ : }", color=colour, fontsize=16, weight="bold", family="DejaVu Sans Mono", ha="center", va="center")


def _icon_writers(axes: Axes, x: float, y: float, colour: str) -> None:
    for left, bottom, face in ((x - 0.42, y - 0.1, "white"), (x - 0.1, y - 0.26, colour)):
        axes.add_patch(_box(left, bottom, 0.52, 0.36, colour, face=face))
        axes.add_patch(Polygon([(left + 0.1, bottom + 0.02), (left + 0.2, bottom + 0.02), (left + 0.1, bottom - 0.1)], color=colour))


def _icon_report(axes: Axes, x: float, y: float, colour: str) -> None:
    axes.add_patch(Rectangle((x - 0.24, y - 0.32), 0.48, 0.64, facecolor="white", edgecolor=colour, lw=1.2))
    for number, width in enumerate((0.32, 0.28, 0.32, 0.2)):
        axes.plot([x - 0.16, x - 0.16 + width], [y + 0.2 - 0.13 * number] * 2, color=colour, lw=1.6)
