"""Numbers in a report: each must be one that the findings hold, of the right thing, rounded as written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from xai.findings import Findings
from xai.metrics.claims import Claim, Quantity, Sentence

_VALUE = r"[-−–+]?\d+(?:\.\d+)?"
_UNIT = r"%|(?:per ?cent|pct|mm|millimet(?:re|er)s?|cm|centimet(?:re|er)s?|px|pixels?|voxels?|ml|millilit(?:re|er)s?|cc|[cm]m[23³²])(?![\w])"
_NUMBER = re.compile(
    rf"(?<![\w.])(?P<value>[-−–+]?(?:\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.\d+)?)(?![a-wyz]|\.\d|x[a-z]|\d)(?:[\s-]?\s*(?P<unit>{_UNIT}))?", re.I
)
_ATTACHED_UNIT = re.compile(rf"(?<![\w.])(?P<value>{_VALUE})(?P<unit>mm|cm|px|ml)\b", re.I)
_ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
         "nineteen").split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_BELOW_HUNDRED = rf"(?:(?:{'|'.join(_TENS)})(?:[\s-](?:{'|'.join(_ONES[1:10])}))?|{'|'.join(reversed(_ONES))})"
_IN_WORDS = re.compile(
    rf"\b(?P<whole>(?:one |a )?hundred|{_BELOW_HUNDRED})(?: point (?P<decimals>(?:(?:{'|'.join(_ONES[:10])})\s?)+))?[\s-]+(?P<unit>{_UNIT})", re.I
)
_AXIS = r"(?:\b[xyz]\s*[=:]?\s*)"
_BRACKETED = re.compile(rf"[(\[]\s*{_VALUE}(?:\s*[,;/\s]\s*{_VALUE}){{1,3}}\s*[)\]](?:\s*(?:mm|pixels?|px))?", re.I)
_ON_AXES = re.compile(
    rf"{_AXIS}{_VALUE}(?:\s*mm)?\s*[,;/]?\s*(?:and )?{_AXIS}{_VALUE}(?:\s*mm)?\s*[,;/]?\s*(?:and )?{_AXIS}{_VALUE}(?:\s*mm)?", re.I
)
_SLASHED = re.compile(rf"(?<![\w/]){_VALUE}\s*/\s*{_VALUE}\s*/\s*{_VALUE}(?![\w/])(?:\s*mm)?", re.I)
_BY = re.compile(r"(?<=\d)\s*[x×*]\s*(?=\d)")
_NOT_A_CLAIM = re.compile(r"^\s*\d+[.)]\s|\b\d-?D\b|\bMNI[- ]?152\b|\bICBM[- ]?\d+|\b(?:scale|range[sd]?|ranging|runs?|running|bounded|from)\b(?: (?:of|from|between))* 0(?:\.0+)? ?(?:to|and|-|–) ?1(?:00)?(?:\.0+)?(?![\d.]*\d)(?! ?%)|[(\[]0 ?(?:-|–|to) ?1[)\]]", re.I)
_CHUNK = re.compile(r"[,;()\[\]]| and | while | with | versus | at ")


@dataclass(frozen=True)
class Number:
    """A number as written: its digits (those of a number in words, too), its unit or "", and its place in the sentence."""

    value: str
    unit: str
    span: tuple[int, int]


def read_numbers(text: str) -> list[Number]:
    """Numbers of a sentence in order; those in words count only with a unit, for "one slice" claims no quantity."""
    digits = [Number(match["value"], match["unit"] or "", match.span()) for match in _NUMBER.finditer(text)]
    taken = {number.span[0] for number in digits}
    digits += [Number(match["value"], match["unit"], match.span()) for match in _ATTACHED_UNIT.finditer(text) if match.start() not in taken]
    spelled = [Number(_digits(match["whole"], match["decimals"]), match["unit"], match.span()) for match in _IN_WORDS.finditer(text)]
    return sorted([*digits, *spelled], key=lambda number: number.span)


def _digits(whole: str, decimals: str | None) -> str:
    """For example ``87.5`` of "eighty-seven" and "five"."""
    whole = whole.lower()
    if "hundred" in whole:
        value = 100
    else:
        value = sum(_ONES.index(word) if word in _ONES else 20 + 10 * _TENS.index(word) for word in re.split(r"[\s-]", whole))
    return str(value) + (f".{''.join(str(_ONES.index(word)) for word in decimals.lower().split())}" if decimals else "")


def number_claims(
    sentence: Sentence, readable: str, anchors: dict[tuple[int, int], set[str]], known: list[Quantity], findings: Findings
) -> list[Claim]:
    """Claims for all numbers of one sentence.

    Parameters
    ----------
    readable : str
        The sentence with names such as VGG16 blanked.
    anchors : dict
        Span in the sentence -> the class labels or ``region i`` that are mentioned there; a number belongs to the
        anchors of its own clause, else to the last one before it, else to the first one after it.
    known : list of Quantity
        ``quantities(findings)``.
    """
    readable = _NOT_A_CLAIM.sub(lambda match: "#" * len(match.group()), readable)
    claims = []
    for pattern in (_ON_AXES, _BRACKETED, _SLASHED):
        for match in pattern.finditer(readable):
            evidence = _vector_evidence(match.group(), findings)
            reason = "" if evidence else "no such coordinates in the findings"
            claims.append(sentence.claim("number", match.span(), evidence, reason))
        readable = pattern.sub(lambda match: "#" * len(match.group()), readable)
    readable = _BY.sub(lambda match: " " * len(match.group()), readable)
    numbers = read_numbers(readable)
    paired = _paired([number.span for number in numbers], anchors, readable)
    for number in numbers:
        claims.append(_judge(sentence, readable, number, paired.get(number.span), anchors, known, findings.prediction.label))
    return claims


def _paired(numbers: list[tuple[int, int]], anchors: dict[tuple[int, int], set[str]], text: str) -> dict[tuple[int, int], set[str]]:
    """Names that numbers belong to by their order: "A and B reach 0.3 and 0.1", and "0.3 (A), 0.1 (B)"."""
    names = sorted(anchors)
    apart = names and numbers and (names[-1][1] <= numbers[0][0] or numbers[-1][1] <= names[0][0])
    if len(names) == len(numbers) > 1 and apart:
        return {number: anchors[name] for number, name in zip(numbers, names)}
    first_in_brackets = {name[0]: name for name in names if re.search(r"\(\s*(?:an? |the )?$", text[: name[0]])}
    paired = {}
    for number in numbers:
        opening = re.match(r"\s*\(\s*(?:an? |the )?", text[number[1]:])
        if opening and (name := first_in_brackets.get(number[1] + opening.end())) and not any(other[1] == number[0] - 1 for other in names):
            paired[number] = anchors[name]
    return paired


def _judge(sentence: Sentence, readable: str, number: Number, paired: set[str] | None, anchors: dict[tuple[int, int], set[str]],
           known: list[Quantity], predicted: str) -> Claim:
    equal = [quantity for quantity in known if _equals(number, quantity)]
    if not equal:
        return sentence.claim("number", number.span, (), "no such number in the findings")
    first, last = _chunk(readable, number.span[0])
    chunk = readable[first:last]
    near = paired or _near_anchors(anchors, number.span, (first, last))
    if re.search(r"\brespectively\b", readable):
        near = set().union(*anchors.values()) if anchors else set()
    fitting = tuple(dict.fromkeys(q.path for q in equal if _fits(q, chunk, readable, near, predicted, known)))
    share = number.unit == "" or number.unit in "%" or number.unit.lower().startswith("p")
    if not fitting and not near and share and not any(re.search(quantity.cue, readable, re.I) for quantity in known):
        # Nothing in the sentence says what the number is of: it is one of the findings, so it has the benefit of the doubt.
        fitting = tuple(dict.fromkeys(quantity.path for quantity in equal))
    return sentence.claim("number", number.span, fitting, "" if fitting else "the number belongs to something else")


def _fits(quantity: Quantity, chunk: str, sentence: str, near: set[str], predicted: str, known: list[Quantity]) -> bool:
    """Whether the words around a number speak of `quantity`."""
    if not near and re.search(r"\b(?:dice|DSC)\b", chunk, re.I) and "dice" not in quantity.path:
        return False
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


def _equals(number: Number, quantity: Quantity) -> bool:
    """Equal to the digits written: 87 % and 87.0 % both stand for 0.8702, and 0.6 cm for 6.3 mm."""
    text = _plain(number.value)
    unit = number.unit.lower()
    unit = "%" if unit in ("percent", "per cent", "pct") else unit
    unit = "mm" if unit.startswith("milli") and "lit" not in unit else "px" if unit.startswith("pixel") else unit
    if unit == "cm" or unit.startswith("centi"):
        return "mm" in quantity.units and _rounds_to(text, quantity.value / 10)
    return unit in quantity.units and _rounds_to(text, quantity.value)


def _plain(text: str) -> str:
    """A number's digits as `float` reads them."""
    return text.replace(",", "").replace("−", "-").replace("–", "-")


def _rounds_to(text: str, value: float) -> bool:
    decimals = len(text.partition(".")[2])
    return abs(float(text) - value) <= 0.5 * 10**-decimals * (1 + 1e-6)


def _vector_evidence(text: str, findings: Findings) -> tuple[str, ...]:
    values = [_plain(value) for value in re.findall(_VALUE, text)]
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
