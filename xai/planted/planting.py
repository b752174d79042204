"""One error put into one sentence of a true report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xai.findings import Findings
from xai.paths import LABELS, METHODS, PLANES
from xai.planted.draws import NETWORKS, REGIONS, draw_findings
from xai.planted.wording import INVENTED, REPLACED, Wording
from xai.planted.writing import Line, fill, lay_out, values_of, write_lines


@dataclass(frozen=True)
class Planted:
    """A report with one error, and the same report without it.

    `span` is the sentence of `text` that holds the error, `clean_span` the same sentence of `clean`, or None where it was added.
    """

    kind: str
    findings: Findings
    text: str
    span: tuple[int, int]
    clean: str
    clean_span: tuple[int, int] | None

    @property
    def sentence(self) -> str:
        return self.text[slice(*self.span)]


def clean_report(number: int, wording: Wording, *, seed: int) -> tuple[Findings, str]:
    """Findings drawn at random, and a report that is true to them."""
    findings = draw_findings(number, np.random.default_rng([seed, number, 0]))
    own = int(np.random.default_rng([seed, number, 1]).integers(2**31))
    return findings, lay_out(write_lines(findings, wording, own), wording, own).text


def plant(kind: str, number: int, wording: Wording, *, seed: int) -> Planted:
    """Draw findings that such an error can be made about, write a true report, and plant the error in one sentence of it."""
    for attempt in range(1000):
        draw = np.random.default_rng([seed, number, attempt, 2])
        findings, own = draw_findings(number, draw), int(draw.integers(2**31))
        lines = write_lines(findings, wording, own)
        if kind in REPLACED:
            wrong = _replaced(kind, findings, lines, wording, own, draw)
        else:
            wrong = _invented(kind, findings, lines, wording, own, draw)
        if wrong is not None:
            place, planted = wrong
            before, after = lay_out(lines, wording, own), lay_out(planted, wording, own)
            clean_span = before.spans[place] if kind in REPLACED else None
            return Planted(kind, findings, after.text, after.spans[place], before.text, clean_span)
    raise ValueError(f"no findings drawn allow an error of kind {kind!r}; expected one of {', '.join(REPLACED | INVENTED)}.")


def _invented(kind, findings, lines: list[Line], wording: Wording, own: int, draw: np.random.Generator):
    text = fill(str(draw.choice(wording.inventions[kind])), values_of(findings, wording, own), wording, findings, draw)
    places = [i for i, line in enumerate(lines) if line.section in ("findings", "impression")]
    place = int(draw.choice(places)) + 1
    return place, [*lines[:place], Line(lines[place - 1].section, "invention", text), *lines[place:]]


def _replaced(kind, findings, lines: list[Line], wording: Wording, own: int, draw: np.random.Generator):
    """The place of the changed line and all lines with it, or None where these findings give no such error."""
    if kind == "certainty of the place":
        places = [i for i, line in enumerate(lines) if line.topic == "place"]
        if findings.anatomy.certainty != "uncertain" or not places:
            return None
        text = fill(str(draw.choice(wording.stated)), values_of(findings, wording, own), wording, findings, draw)
        place = places[0]
    else:
        altered = alter(kind, findings, draw)
        # Another certainty would change the sentences themselves, not a value in them.
        if altered is None or altered.anatomy.certainty != findings.anatomy.certainty:
            return None
        other = write_lines(altered, wording, own)
        different = [i for i, (line, wrong) in enumerate(zip(lines, other)) if line.topic == wrong.topic and line.text != wrong.text]
        if len(other) != len(lines) or not different:
            return None
        place = int(draw.choice(different))
        text = other[place].text
    return place, [*lines[:place], Line(lines[place].section, lines[place].topic, text), *lines[place + 1:]]


def alter(kind: str, findings: Findings, draw: np.random.Generator) -> Findings | None:
    """`findings` with one value replaced by a clearly different one, or None where they do not hold such a value."""
    changed = _ALTERATIONS[kind](findings, draw)
    return None if changed is None else findings.model_copy(update=changed)


def _other(value, options, draw: np.random.Generator) -> str:
    return str(draw.choice([option for option in options if option != value]))


def _class(findings: Findings, draw: np.random.Generator):
    prediction = findings.prediction
    other, values = _other(prediction.label, LABELS, draw), dict(prediction.probabilities)
    values[other], values[prediction.label] = values[prediction.label], values[other]
    return {"prediction": prediction.model_copy(update={"label": other, "probabilities": values})}


def _class_probability(findings: Findings, draw: np.random.Generator):
    values = dict(findings.prediction.probabilities)
    wrong = values[findings.prediction.label] + draw.choice([-1, 1]) * draw.uniform(0.08, 0.3)
    if not 0.02 < wrong < 0.99 or any(abs(wrong - value) < 0.03 for value in values.values()):
        return None
    values[findings.prediction.label] = float(wrong)
    return {"prediction": findings.prediction.model_copy(update={"probabilities": values})}


def _side(findings: Findings, draw: np.random.Generator):
    flip = {"left": "right", "right": "left"}
    anatomy = findings.anatomy
    if anatomy.hemisphere not in flip:
        return None
    regions = tuple(region.model_copy(update={"hemisphere": flip.get(region.hemisphere, region.hemisphere)}) for region in anatomy.regions)
    return {"anatomy": anatomy.model_copy(update={"hemisphere": flip[anatomy.hemisphere], "regions": regions})}


def _region(findings: Findings, draw: np.random.Generator):
    anatomy = findings.anatomy
    if not anatomy.regions:
        return None
    place = int(draw.integers(len(anatomy.regions)))
    name = str(draw.choice([name for name in REGIONS if name not in {region.name for region in anatomy.regions}]))
    return {"anatomy": anatomy.model_copy(update={"regions": _with(anatomy.regions, place, {"name": name})})}


def _region_number(findings: Findings, draw: np.random.Generator):
    anatomy = findings.anatomy
    if not anatomy.regions:
        return None
    place = int(draw.integers(len(anatomy.regions)))
    held = [value for region in anatomy.regions for value in (region.probability, region.overlap_percent / 100)]
    wrong = float(draw.uniform(0.05, 0.95))
    if any(abs(wrong - value) < 0.06 for value in held):
        return None
    change = {"probability": wrong} if draw.random() < 0.5 else {"overlap_percent": 100 * wrong}
    return {"anatomy": anatomy.model_copy(update={"regions": _with(anatomy.regions, place, change)})}


def _with(regions, place: int, change: dict):
    return tuple(region.model_copy(update=change) if i == place else region for i, region in enumerate(regions))


def _size(findings: Findings, draw: np.random.Generator):
    mask, factor = findings.mask, float(draw.choice([draw.uniform(0.35, 0.6), draw.uniform(1.6, 2.6)]))
    if abs(mask.area_percent * (factor - 1)) < 1.5:
        return None
    return {"mask": mask.model_copy(update={"area_percent": mask.area_percent * factor, "area_pixels": round(mask.area_pixels * factor)})}


def _length(findings: Findings, draw: np.random.Generator):
    anatomy, change = findings.anatomy, {}
    if draw.random() < 0.5 and anatomy.centroid_mni_mm:
        values, axis = list(anatomy.centroid_mni_mm), int(draw.integers(3))
        values[axis] += float(draw.choice([-1, 1]) * draw.uniform(8, 30))
        change = {"centroid_mni_mm": tuple(values)}
    elif anatomy.through_plane_sd_mm is not None:
        change = {"through_plane_sd_mm": anatomy.through_plane_sd_mm * draw.uniform(1.6, 2.4) + 2}
    return {"anatomy": anatomy.model_copy(update=change)} if change else None


def _agreement(findings: Findings, draw: np.random.Generator):
    dice = findings.mask.segmentation_agreement_dice
    wrong = None if dice is None else dice + draw.choice([-1, 1]) * draw.uniform(0.08, 0.3)
    if wrong is None or not 0 < wrong < 1:
        return None
    return {"mask": findings.mask.model_copy(update={"segmentation_agreement_dice": float(wrong)})}


_ALTERATIONS = {
    "class": _class, "class probability": _class_probability, "side": _side, "region": _region, "region number": _region_number,
    "plane": lambda findings, draw: {"plane": _other(findings.plane, PLANES, draw)}, "size": _size, "length": _length,
    "agreement": _agreement, "network": lambda findings, draw: {"model": _other(findings.model, NETWORKS, draw)},
    "saliency method": lambda findings, draw: {"cam_method": _other(findings.cam_method, METHODS, draw)},
}  # fmt: skip
