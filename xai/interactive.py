"""Inert HTML for the book's interactive parts: a figure that stands by itself, and data that a script of the book may bring to life.

A notebook's output holds no script (`xai.bookchapters` refuses one): it holds a figure with `data-` attributes, and the
scripts in ``book/_static`` put controls in its place. Without a script the figure stays as it is.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from html import escape
from io import BytesIO

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from xai.plotting.base import HEAT


@dataclass(frozen=True)
class InteractiveFigure:
    """A figure for a page; see `as_html` for what it holds.

    Attributes
    ----------
    kind : str
        Which script takes it up: the part after ``data-`` of the attribute that carries `data`.
    picture : Figure
        What is seen without a script.
    alt : str
        The picture in words.
    caption : str
        Below the picture and below what takes its place; plain text.
    data : dict
        What the script reads; anything that JSON can hold.
    """

    kind: str
    picture: Figure
    alt: str
    caption: str
    data: dict

    def as_html(self) -> str:
        """One ``<figure>`` with an embedded picture, a caption, and the data as escaped JSON in an attribute."""
        data = escape(json.dumps(self.data, separators=(",", ":"), allow_nan=False))
        return (
            f'<figure class="interactive" data-{escape(self.kind)}="{data}">'
            f'<div class="interactive-body"><img src="{embedded(self.picture)}" alt="{escape(self.alt)}"></div>'
            f"<figcaption><p>{escape(self.caption)}</p></figcaption></figure>"
        )

    def _repr_html_(self) -> str:
        return self.as_html()

    def __repr__(self) -> str:
        return f"interactive figure: {self.alt}"


def embedded(figure: Figure) -> str:
    """A study's figure as a ``data:`` address of a PNG with few colours, so that the page stays small."""
    # The figure's own bundle saves it under the study's style.
    picture = Image.open(BytesIO(figure._repr_mimebundle_()["image/png"])).convert("RGB").quantize(128)
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + as_text(np.frombuffer(buffer.getvalue(), np.uint8))


def as_text(values: np.ndarray) -> str:
    """The bytes of a uint8 array as base64, rows first."""
    return base64.b64encode(np.ascontiguousarray(values, np.uint8).tobytes()).decode()


def halves_as_text(values: np.ndarray) -> str:
    """A float16 array as base64 of its little-endian bytes, rows first: a study's heatmaps exactly as they are stored."""
    return base64.b64encode(np.ascontiguousarray(values, "<f2").tobytes()).decode()


def heat_colours() -> np.ndarray:
    """The colours of the book's heatmaps, uint8 (256, 3)."""
    return (colormaps[HEAT](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
