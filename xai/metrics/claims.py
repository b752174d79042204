"""What one claim of a report is, and the pieces of a sentence that claims are read from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from xai.findings import Findings

KINDS = (
    "class", "side", "region", "number", "plane", "method", "modality", "negation", "observation", "patient",
    "certainty", "advice", "count", "flag", "disclaimer", "statement",
)


@dataclass(frozen=True)
class Claim:
    """One checkable statement.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    text : str
        The words, ``report[start:end]``.
    supported : bool
        Whether the findings hold it.
    evidence : tuple of str
        Paths into the findings that support it, for example ``anatomy.regions[0].name``; empty if unsupported.
    reason : str
        For an unsupported claim, what is wrong; otherwise empty.
    """

    kind: str
    text: str
    start: int
    end: int
    supported: bool
    evidence: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Sentence:
    """A sentence of a report and where it starts in it."""

    text: str
    start: int

    def claim(self, kind: str, span: tuple[int, int], evidence: tuple[str, ...] = (), reason: str = "") -> Claim:
        """A claim at `span` of this sentence; supported exactly if nothing is said against it."""
        first, last = span
        evidence = () if reason else evidence
        return Claim(kind, self.text[first:last], self.start + first, self.start + last, not reason, evidence, reason)

    def without(self, claims: list[Claim]) -> str:
        """The sentence with the words of `claims` blanked, so that they are not read twice."""
        letters = list(self.text)
        for claim in claims:
            first, last = claim.start - self.start, claim.end - self.start
            letters[first:last] = "#" * (last - first)
        return "".join(letters)


# Full stops that end no sentence: of an abbreviation, or of a number that counts paragraphs.
_NO_END = re.compile(
    r"(?:\b(?:prob|approx|ca|e\.g|i\.e|vs|cf|no|nos|fig|figs|resp|incl|excl|max|min|est|dr|mr|mrs|ms|st|lat|ant|post|sup|inf|hemi|avg|std|dev|coord|coeff?|vol|diam|"
    r"pos|seg|cls)|^[ \t]*(?:\d{1,2}|[ivx]{1,4}|[a-z]))\.(?=[ \t]+\S)", re.I | re.M
)


def sentences(text: str) -> Iterator[Sentence]:
    """Sentences end at a line's end, or at ``. ! ?`` before white space; a decimal point or an abbreviation ends none."""
    for first, last in _spans(_NO_END.sub(lambda match: match.group()[:-1] + "_", text)):
        yield Sentence(text[first:last], first)


def _spans(text: str) -> Iterator[tuple[int, int]]:
    for match in re.finditer(r"[^.!?\n]*(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?]?", text):
        if match.group().strip():
            yield match.span()


def flag_claims(text: str, findings: Findings) -> tuple[list[Claim], str]:
    """Quality flags quoted word by word, and the text without them."""
    claims: list[Claim] = []
    for index, flag in enumerate(findings.quality_flags):
        pattern = r"[\s_]+".join(re.escape(word) for word in re.split(r"[\s_]+", flag))
        for match in re.finditer(pattern, text, re.I):
            claims.append(Claim("flag", match.group(), *match.span(), True, (f"quality_flags[{index}]",)))
            text = text[: match.start()] + "#" * len(match.group()) + text[match.end():]
    return claims, text


@dataclass(frozen=True)
class Quantity:
    """A number of the findings: how it may be written, and which words must stand near it.

    `anchor` is the class label or the region index that the number belongs to; `cue` matches the words that name
    the quantity.
    """

    path: str
    value: float
    units: tuple[str, ...]
    cue: str
    anchor: str | None = None


_PROBABILITY = r"probab|confiden|likel|certainty|score|classif|assign|predict|weight|chance|belief|odds|\bp\b"
_AREA = (
    r"area|image|slice|cover|occup|field|size|extent|pixels|spans|measur|mask|fill|frame|picture|patch|zone|takes? up|accounts?|highlight|salient|"
    r"surface|portion|proportion|fraction|spot|section"
)
_PIXEL = r"row|column|cent(?:er|re|roid)|pixel|box|bound|coordinate|position"
_MNI = r"\bMNI|cent(?:er|re|roid)|coordinate|position|\bx\b|\by\b|\bz\b|standard space|template"
_SPREAD = r"standard deviation|\bsd\b|uncertain|±|within|scatter|through|spread|plus or minus|perpendicular|precis|accura|deviat|margin|give or take|sigma|error"


def quantities(findings: Findings) -> list[Quantity]:
    """Every number of `findings` that a report may quote; probabilities as percent or as a fraction."""
    mask, anatomy = findings.mask, findings.anatomy
    found: list[Quantity] = [Quantity("image_size", findings.image_size, ("px", ""), r"\bx\b|×|size|matrix|pixel|by")]
    found.append(Quantity("id", 1, ("",), r"slices?\b|images?\b|sections?\b|frames?\b|levels?\b"))  # findings are of one slice

    def add(path: str, value: float | None, units: tuple[str, ...], cue: str, anchor: str | None = None) -> None:
        if value is not None:
            found.append(Quantity(path, value, units, cue, anchor))

    def add_probability(path: str, value: float | None, cue: str, anchor: str | None = None) -> None:
        if value is not None:
            add(path, 100 * value, ("%",), cue, anchor)
            add(path, value, ("",), cue, anchor)

    for label, value in findings.prediction.probabilities.items():
        add_probability(f"prediction.probabilities.{label}", value, _PROBABILITY, label)
    for index, region in enumerate(anatomy.regions):
        add_probability(f"anatomy.regions[{index}].probability", region.probability, _PROBABILITY, f"region {index}")
        add(f"anatomy.regions[{index}].overlap_percent", region.overlap_percent, ("%",),
            r"overlap|(?:of|with) (?:the )?(?:saliency )?mask|of the area|share|sharing|pixels", f"region {index}")
    add("mask.area_percent", mask.area_percent, ("%",), _AREA)
    add("mask.area_pixels", mask.area_pixels, ("px",), _AREA)
    add("mask.area_pixels", mask.area_pixels, ("",), r"pixels?\b")
    for name in ("centroid_pixels", "bounding_box_pixels"):
        for index, value in enumerate(getattr(mask, name) or ()):
            add(f"mask.{name}[{index}]", value, ("px", ""), _PIXEL)
    add_probability("mask.segmentation_agreement_dice", mask.segmentation_agreement_dice, r"dice|\bDSC\b|agree|segmentation")
    add_probability("anatomy.outside_atlas_probability", anatomy.outside_atlas_probability, r"outside|beyond|not (?:be )?(?:in|on|inside|within|part of|cover(?:ed)?|represented|included|found in)\b|covers? no|leaves out|misse[sd]|\b(?:not?|without)\b.{0,40}\batlas|\batlas\b.{0,40}\b(?:not?|lacks?)\b|off the|no atlas|without (?:an? )?(?:atlas|label|name)|un(?:labell?ed|covered|named)|elsewhere|\b(?:no|none of (?:the|its|all))\b.{0,25}\b(?:structures?|regions?|labels?|parcels?|names?)\b")
    for index, value in enumerate(anatomy.centroid_mni_mm or ()):
        add(f"anatomy.centroid_mni_mm[{index}]", value, ("mm", ""), _MNI)
    for index, value in enumerate(anatomy.centroid_sd_mm or ()):
        add(f"anatomy.centroid_sd_mm[{index}]", value, ("mm", ""), _SPREAD)
    add("anatomy.through_plane_sd_mm", anatomy.through_plane_sd_mm, ("mm",), _SPREAD)
    add("anatomy.match_score", anatomy.match_score, ("",), r"match|correlat|similar")
    return found
