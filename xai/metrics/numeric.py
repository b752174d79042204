"""Numbers in a report: each must be one that the findings hold, of the right thing, rounded as written."""

from __future__ import annotations

import re

from xai.findings import Findings
from xai.metrics.claims import Claim, Quantity, Sentence, quantities

_VALUE = r"[-−+]?\d+(?:\.\d+)?"
_NUMBER = re.compile(
    r"(?<![\w.])(?P<value>[-−+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)(?![\w]|\.\d)"
    r"(?:\s*(?P<unit>%|(?:per ?cent|mm|millimet(?:re|er)s?|cm|centimet(?:re|er)s?|px|pixels?|voxels?|ml|cm3|mm3)\b))?",
    re.I,
)
_ATTACHED_UNIT = re.compile(rf"(?<![\w.])(?P<value>{_VALUE})(?P<unit>mm|cm|px|ml)\b", re.I)
_VECTOR = re.compile(rf"[(\[]\s*({_VALUE}(?:\s*[,;]\s*{_VALUE}){{1,3}})\s*[)\]](?:\s*(?:mm|pixels?|px))?", re.I)
_NOT_A_CLAIM = re.compile(r"^\s*\d+[.)]\s|\b\d-?D\b|\bMNI[- ]?152\b|\bICBM[- ]?\d+", re.I)
_CHUNK = re.compile(r"[,;()\[\]]| and | while | with | versus | at ")


def number_claims(
    sentence: Sentence, readable: str, anchors: dict[tuple[int, int], set[str]], findings: Findings
) -> list[Claim]:
    """Claims for all numbers of one sentence.

    Parameters
    ----------
    readable : str
        The sentence with names such as VGG16 blanked.
    anchors : dict
        Span in the sentence -> the class labels or ``region i`` that are mentioned there; a number belongs to the
        anchors of its own clause, else to the last one before it, else to the first one after it.
    """
    readable = _NOT_A_CLAIM.sub(lambda match: "#" * len(match.group()), readable)
    known = quantities(findings)
    claims = []
    for match in _VECTOR.finditer(readable):
        evidence = _vector_evidence(match.group(1), findings)
        reason = "" if evidence else "no such coordinates in the findings"
        claims.append(sentence.claim("number", match.span(), evidence, reason))
    rest = _VECTOR.sub(lambda match: "#" * len(match.group()), readable)
    for match in sorted([*_NUMBER.finditer(rest), *_ATTACHED_UNIT.finditer(rest)], key=lambda match: match.start()):
        claims.append(_judge(sentence, rest, match, anchors, known, findings.prediction.label))
    return claims


def _judge(sentence: Sentence, readable: str, match: re.Match[str], anchors: dict[tuple[int, int], set[str]],
           known: list[Quantity], predicted: str) -> Claim:
    equal = [quantity for quantity in known if _equals(match, quantity)]
    if not equal:
        return sentence.claim("number", match.span(), (), "no such number in the findings")
    first, last = _chunk(readable, match.start())
    chunk = readable[first:last]
    near = _near_anchors(anchors, match.span(), (first, last))
    if re.search(r"\brespectively\b", readable):
        near = set().union(*anchors.values()) if anchors else set()
    fitting = tuple(dict.fromkeys(q.path for q in equal if _fits(q, chunk, readable, near, predicted, known)))
    return sentence.claim("number", match.span(), fitting, "" if fitting else "the number belongs to something else")


def _fits(quantity: Quantity, chunk: str, sentence: str, near: set[str], predicted: str, known: list[Quantity]) -> bool:
    """Whether the words around a number speak of `quantity`."""
    if quantity.anchor is not None:
        # Without any name in the sentence, "probability 87 %" can only mean the predicted class or the first region.
        spoken_of = bool(re.search(quantity.cue, sentence, re.I))
        implied = not near and quantity.anchor in (predicted, "region 0") and spoken_of
        classified = quantity.anchor == predicted and bool(re.search(r"class", chunk, re.I))
        named = quantity.anchor in near or implied or classified
        rivals = {q.cue for q in known if q.anchor == quantity.anchor}
        named_here = {cue for cue in rivals if re.search(cue, chunk, re.I)}
        return named and (not named_here or quantity.cue in named_here)
    if re.search(quantity.cue, chunk, re.I):
        return True
    # A clause that speaks of a probability or an overlap is about a class or a region, except for the atlas's own.
    elsewhere = re.search(r"overlap|probab|confiden", chunk, re.I) and "outside" not in quantity.path
    return not elsewhere and re.search(quantity.cue, sentence, re.I) is not None


def _equals(match: re.Match[str], quantity: Quantity) -> bool:
    """Equal to the digits written: 87 % and 87.0 % both stand for 0.8702."""
    text = match["value"].replace(",", "").replace("−", "-")
    unit = (match["unit"] or "").lower()
    unit = "%" if unit in ("percent", "per cent") else unit
    unit = "mm" if unit.startswith("milli") else "px" if unit.startswith("pixel") else unit
    return unit in quantity.units and _rounds_to(text, quantity.value)


def _rounds_to(text: str, value: float) -> bool:
    decimals = len(text.partition(".")[2])
    return abs(float(text) - value) <= 0.5 * 10**-decimals * (1 + 1e-6)


def _vector_evidence(text: str, findings: Findings) -> tuple[str, ...]:
    values = [value.replace("−", "-") for value in re.split(r"\s*[,;]\s*", text)]
    vectors = {
        "anatomy.centroid_mni_mm": findings.anatomy.centroid_mni_mm,
        "anatomy.centroid_sd_mm": findings.anatomy.centroid_sd_mm,
        "mask.centroid_pixels": findings.mask.centroid_pixels,
        "mask.bounding_box_pixels": findings.mask.bounding_box_pixels,
    }
    return tuple(
        path for path, vector in vectors.items()
        if vector is not None and len(vector) == len(values) and all(map(_rounds_to, values, vector))
    )


def _chunk(sentence: str, position: int) -> tuple[int, int]:
    """The clause around `position`."""
    edges = [match for match in _CHUNK.finditer(sentence)]
    first = max((edge.end() for edge in edges if edge.end() <= position), default=0)
    last = min((edge.start() for edge in edges if edge.start() > position), default=len(sentence))
    return first, last


def _near_anchors(anchors: dict[tuple[int, int], set[str]], span: tuple[int, int], chunk: tuple[int, int]) -> set[str]:
    inside = [names for (first, last), names in anchors.items() if first < chunk[1] and last > chunk[0]]
    if inside:
        return set().union(*inside)
    before = [item for item in anchors.items() if item[0][1] <= span[0]]
    if before:
        return max(before, key=lambda item: item[0][1])[1]
    after = [item for item in anchors.items() if item[0][0] >= span[1]]
    return min(after, key=lambda item: item[0][0])[1] if after else set()
