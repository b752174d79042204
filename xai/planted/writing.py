"""True reports in many words: the sentences of one wording, filled with the values of one finding."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from xai.findings import Findings
from xai.planted.wording import TOPICS, Wording

# What a report may leave out, and how often it keeps it.
KEPT = {"others": 0.7, "dice": 0.6, "centre": 0.6, "lobe": 0.4, "outside": 0.5, "spread": 0.6, "silence": 0.7, "flags": 0.9}
_STYLE = 999  # a stream of draws of its own, so that values are written alike throughout a report
_ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
         "nineteen").split()  # fmt: skip
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_GAP = re.compile(r"{(\w+)}")


@dataclass(frozen=True)
class Line:
    """One sentence of a report."""

    section: str
    topic: str
    text: str


@dataclass(frozen=True)
class Written:
    """A report and where each of its lines stands in it."""

    text: str
    spans: tuple[tuple[int, int], ...]


def write_lines(findings: Findings, wording: Wording, seed: int) -> list[Line]:
    """The sentences of one true report; the same seed says the same of other findings of the same kind."""
    style = np.random.default_rng([seed, _STYLE])
    values = _values(findings, wording, style)
    lines = []
    for number, (section, topic) in enumerate((s, t) for s, topics in TOPICS.items() for t in topics):
        draw = np.random.default_rng([seed, number])
        if draw.random() > KEPT.get(topic, 1.0):
            continue
        options = [text for text in _options(topic, findings, wording) if set(_GAP.findall(text)) <= set(values) | set(_DRAWN)]
        if options:
            text = fill(str(draw.choice(options)), values, wording, findings, draw)
            lines.append(Line(section, topic, text))
    return lines


def lay_out(lines: list[Line], wording: Wording, seed: int) -> Written:
    """Join lines into a text with or without headings and bullets, sections in the usual order or the conclusion first."""
    draw = np.random.default_rng([seed, _STYLE + 1])
    headings = wording.headings[int(draw.integers(len(wording.headings)))]
    bullet = str(draw.choice(wording.bullets))
    own_line, end = bool(draw.random() < 0.5), "" if bullet and draw.random() < 0.5 else "."
    sections = list(TOPICS)
    if draw.random() < 0.25:
        sections = ["impression", "technique", "findings", "limitations"]
    text, spans = "", {}
    for section in sections:
        text += "\n\n" if text and (headings or bullet or draw.random() < 0.5) else " " if text else ""
        if headings:
            text += headings[list(TOPICS).index(section)] + ("\n" if own_line or bullet else ": ")
        for number, line in enumerate(lines):
            if line.section != section:
                continue
            separator = "\n" if bullet else " "
            text += ("" if not text or text[-1].isspace() else separator) + bullet
            spans[number] = (len(text), len(text) + len(line.text))
            text += line.text.removesuffix(".") + (end or ("." if not line.text.endswith(".") else ""))
            spans[number] = (spans[number][0], len(text))
    return Written(text, tuple(spans[number] for number in range(len(lines))))


_DRAWN = ("class", "second", "third", "network", "saliency", "plane", "modality", "list", "r1")


def fill(text: str, values: dict[str, str], wording: Wording, findings: Findings, draw: np.random.Generator) -> str:
    """A sentence with its gaps filled; names are drawn among their spellings, numbers are written as in the rest of the report."""
    ranked = _ranked(findings)
    names = {
        "class": wording.classes[findings.prediction.label], "network": wording.networks[findings.model],
        "second": wording.classes[ranked[0]], "third": wording.classes[ranked[1]],
        "saliency": wording.methods[findings.cam_method], "plane": wording.planes[findings.plane], "modality": wording.modality,
    }  # fmt: skip
    # One draw each however many spellings there are, so that another value changes its own words alone.
    chosen = {name: options[int(draw.random() * len(options))] for name, options in names.items()}
    regions = [_region(region, wording, draw) for region in findings.anatomy.regions]
    if regions:
        form = str(draw.choice(wording.regions))
        items = [form.format(region=name, rp=values[f"rp{i}"], ro=values[f"ro{i}"]) for i, name in enumerate(regions)]
        chosen |= {"list": _join(items, ";" if "," in form else ","), "r1": regions[0]}
    text = text.format(**(values | chosen))
    return text[:1].upper() + text[1:]


def values_of(findings: Findings, wording: Wording, seed: int) -> dict[str, str]:
    """The numbers of `findings` as the report of this seed writes them."""
    return _values(findings, wording, np.random.default_rng([seed, _STYLE]))


def _options(topic: str, findings: Findings, wording: Wording) -> tuple[str, ...]:
    """The sentences that are true of these findings."""
    anatomy, empty = findings.anatomy, findings.mask.area_pixels == 0
    if empty and topic in ("dice", "side", "centre", "regions", "lobe", "outside", "place", "estimate", "spread"):
        return ()
    if topic == "area" and empty:
        return wording.sentences["empty"]
    if topic == "side" and anatomy.hemisphere in ("midline", "not determinable"):
        return wording.sentences["midline" if anatomy.hemisphere == "midline" else "unsided"]
    if topic == "regions":
        if not anatomy.regions:
            return wording.sentences["nowhere"]
        return wording.hedges[anatomy.certainty]
    if topic == "place":
        return wording.place.get(anatomy.certainty, ())
    return wording.sentences[topic]


def _values(findings: Findings, wording: Wording, style: np.random.Generator) -> dict[str, str]:
    prediction, mask, anatomy = findings.prediction, findings.mask, findings.anatomy
    percent, length, minus = str(style.choice(wording.percents)), str(style.choice(wording.lengths)), str(style.choice(["-", "-", "−"]))
    triple = str(style.choice(wording.triples))
    fraction = str(style.choice(wording.fractions)) if style.random() < 0.3 else None
    by, thousands = str(style.choice([" x ", " × ", "x"])), bool(style.random() < 0.5)

    def probability(value: float) -> str:
        return format(value, fraction if value > 0.01 else ".3f") if fraction else _percent(100 * value, percent)

    ranked = _ranked(findings)
    values = {
        "p": probability(prediction.probabilities[prediction.label]), "p2": probability(prediction.probabilities[ranked[0]]),
        "p3": probability(prediction.probabilities[ranked[1]]), "area": _percent(mask.area_percent, percent),
        "pixels": f"{mask.area_pixels:,}" if thousands else str(mask.area_pixels),
        "matrix": f"{findings.image_size}{by}{findings.image_size} pixels", "side": anatomy.hemisphere,
    }  # fmt: skip
    if mask.segmentation_agreement_dice is not None:
        values["dice"] = f"{mask.segmentation_agreement_dice:.2f}"
    if anatomy.centroid_mni_mm:
        numbers = [f"{round(value) + 0.0:.0f}".replace("-", minus) for value in anatomy.centroid_mni_mm]
        values["mni"] = triple.format(**dict(zip("xyz", numbers)))
    if anatomy.through_plane_sd_mm is not None:
        values["sd"] = _length(anatomy.through_plane_sd_mm, length)
    if anatomy.outside_atlas_probability is not None:
        values["outside"] = _percent(100 * anatomy.outside_atlas_probability, percent)
    if anatomy.lobe:
        values["lobe"] = anatomy.lobe
    if findings.quality_flags:
        values["flags"] = str(style.choice(["; ", ", "])).join(findings.quality_flags)
    for number, region in enumerate(anatomy.regions):
        values |= {f"rp{number}": probability(region.probability), f"ro{number}": _percent(region.overlap_percent, percent)}
    return values


def _ranked(findings: Findings) -> list[str]:
    """The classes that were not chosen, the more probable first."""
    others = {name: value for name, value in findings.prediction.probabilities.items() if name != findings.prediction.label}
    return sorted(others, key=others.get, reverse=True)


def _region(region, wording: Wording, draw: np.random.Generator) -> str:
    name = region.name.lower()
    if region.hemisphere not in ("left", "right"):
        return name
    return str(draw.choice(wording.sided)).format(side=region.hemisphere, name=name)


def _join(items: list[str], separator: str) -> str:
    if len(items) < 3:
        return " and ".join(items)
    return f"{separator} ".join(items[:-1]) + f"{separator} and {items[-1]}"


def _percent(value: float, style: str) -> str:
    """For example ``87.0 %``, ``87 percent`` or ``eighty-seven per cent``; what would round to 0 keeps a decimal."""
    digits, unit = style.split(maxsplit=1) if " " in style else (style[:-1], style[-1])
    space = " " if " " in style else ""
    if digits == "words" and value >= 0.5:
        return f"{in_words(round(value))} {unit}"
    decimals = 1 if value < 0.5 or digits == "words" else int(digits)
    return f"{value:.{decimals}f}{space}{unit}"


def _length(millimetres: float, style: str) -> str:
    digits, unit = style.split() if " " in style else (style[:1], style[1:])
    space = " " if " " in style else ""
    if digits == "words":
        return f"{in_words(round(millimetres))} {unit}"
    return f"{millimetres / (10 if unit.startswith('c') else 1):.{digits}f}{space}{unit}"


def in_words(number: int) -> str:
    """An integer from 0 to 100 in English words, for example ``eighty-seven``."""
    if number < 20:
        return _ONES[number]
    if number == 100:
        return "one hundred"
    ones = number % 10
    return _TENS[number // 10 - 2] + (f"-{_ONES[ones]}" if ones else "")
