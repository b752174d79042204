"""Is a report true to its findings? Claims are read from the text one kind at a time and looked up."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from xai.findings import Findings
from xai.metrics import clauses
from xai.metrics import vocabulary as words
from xai.metrics.certainty import overconfident, stated_as_fact
from xai.metrics.claims import Claim, Quantity, Sentence, flag_claims, quantities, sentences
from xai.metrics.inventions import ADVICE_EXEMPT, inventions
from xai.metrics.numeric import number_claims

# Recall asks for the most probable regions only; a report that leaves out the tail is not incomplete.
EXPECTED_REGIONS = 3

_ARCHITECTURE = re.compile(
    r"\b(?:VGG|ResNet|Xception|Inception[- ]?ResNet|Inception|DenseNet|EfficientNet|MobileNet|U-?Net|ViT)"
    r"(?:[- ]?[A-Z]?\d+)?(?:[- ]?V\d)?\b", re.I
)
_CAM = re.compile(
    r"\b(?:(?:Grad|Score|Layer|Eigen|XGrad)[- ]?CAM(?: ?\+\+|[- ]?pp\b|[- ]?plus[- ]?plus)?|"
    r"(?:gradient|score)[- ]weighted class[- ]activation map(?:s|ping)?(?: ?\+\+| plus[- ]?plus)?)", re.I
)
_SIDE = re.compile(r"\b(left|right|bilateral(?:ly)?|both (?:hemispheres|sides)|midline)\b(?! (?:shift|(?:is|was|has been) (?:\w+ )?(?:shifted|displaced|moved)))", re.I)
_NO_SIDE = re.compile(
    r"\b(?:left|right)\s*(?:[-/]|or|versus|vs\.?|from)\s*(?:the )?(?:left|right)\b|\bimage[- ](?:left|right)\b|"
    r"\b(?:left|right)(?: \w+)? of the (?:image|slice|picture)\b|\b(?:of|from|off|beside|lateral to) (?:the )?midline\b|\bleft (?:over|for|open|out|blank|aside|alone|un\w+)\b|"
    r"\b(?:class|label|prediction|network|model|answer|guess|name|place|it) (?:\w+ )?(?:is|was|be|are|prove[sd]?) right(?=\W*(?:$|[.,;]|or wrong))|\bright (?:class|label|answer|diagnosis|name|guess)\b|\bright (?:or wrong|for the)\b|\b(?:roughly|approximately|often|usually|always|mostly) right\b|"
    r"\b(?:was|were|been|nothing|none) left\b(?=\s*(?:[,.;]|to\b|after\b|$))", re.I
)
_OUTSIDE = re.compile(r"\b(?:outside|beyond|(?<!read )off)(?: of)?(?: the| any)?(?: [\w-]+){0,2}? (?:atlas|regions?|labels?)\b", re.I)
_EMPTY = re.compile(r"\bempty\b(?!-)|\b(?:no|zero|not a single) (?:pixels?|area|region)\b(?= (?:\w+ )?(?:was|were|is|are|has|have)\b)|\b(?:no|zero) (?:highlighted |marked |salient )?pixels?\b|\b(?:mask|area|extent|pixels?)(?: (?:area|size|extent|is|was))*\W{1,3}(?:nil|none|zero)\b(?! point)", re.I)
_BEHIND = re.compile(
    r"\b(?:ahead of|over|rather than|instead of|followed by|against|versus|alternatives?|less likely|less probable|"
    r"remaining|other (?:class(?:es)?|two)|next|second|lower|less|not|no|excludes?|runner-?up|trail\w*|behind|differential)\b[^.]*$", re.I
)
_BEHIND_AFTER = re.compile(r"^[^.,;]{0,30}\b(?:less likely|unlikely|lower|follows?|less probable|alternatives?)\b", re.I)
_PLACE = re.compile(r"locali[sz]|locat|plac|atlas|region|anatom|position|gyrus|gyri|cortex|lobe|pole", re.I)


@dataclass(frozen=True)
class FactCheck:
    """Claims of one report against its findings.

    Attributes
    ----------
    claims : tuple of Claim
        In order of appearance.
    precision : float
        Supported claims / claims; NaN for a text that claims nothing.
    recall : float
        Expected facts that the report states correctly / expected facts (`missing` names the rest).
    unsupported, laterality_errors, numeric_errors : int
        Numbers of unsupported claims: all, of side, of number.
    missing : tuple of str
        Expected facts that the report does not state.
    """

    claims: tuple[Claim, ...]
    precision: float
    recall: float
    unsupported: int
    laterality_errors: int
    numeric_errors: int
    missing: tuple[str, ...]

    @property
    def unsupported_claims(self) -> tuple[Claim, ...]:
        return tuple(claim for claim in self.claims if not claim.supported)


def check_facts(text: str, findings: Findings) -> FactCheck:
    """Read `text` into claims and look each one up in `findings`.

    A rule-based reader: it knows the Harvard-Oxford names, the three classes, the study's networks and methods, and
    words and word forms of what radiology reports tend to invent (patients, signs, sequences, diagnoses, advice). A
    sentence in which it recognises nothing, and which does not speak of the limits of the work, is one unsupported claim
    of kind ``statement``. How far this can be trusted is measured by `xai.planted`.
    """
    claims, text_left = flag_claims(text, findings)
    known = quantities(findings)
    for sentence in sentences(text_left):
        rest = text_left[sentence.start + len(sentence.text):]
        if clauses.only_asked(sentence.text, rest):
            continue
        found = _sentence_claims(sentence, known, findings)
        claims.extend(found or _bare_statement(sentence, rest))
    claims.sort(key=lambda claim: (claim.start, claim.end))
    missing, expected = _missing(text, claims, findings)
    wrong = [claim for claim in claims if not claim.supported]
    return FactCheck(
        claims=tuple(claims),
        precision=1 - len(wrong) / len(claims) if claims else math.nan,
        recall=1 - len(missing) / expected,
        unsupported=len(wrong),
        laterality_errors=sum(claim.kind == "side" for claim in wrong),
        numeric_errors=sum(claim.kind == "number" for claim in wrong),
        missing=missing,
    )


def _sentence_claims(sentence: Sentence, known: list[Quantity], findings: Findings) -> list[Claim]:
    methods = _method_claims(sentence, findings)
    mentions = _class_mentions(sentence, findings)
    # "Tumour of the pituitary gland" names a class, not a gland; "glial tumour" is no other diagnosis.
    named = [sentence.claim("class", match.span()) for _, match in mentions]
    regions, anchors = _region_claims(sentence, named, findings)
    invented = _invented_claims(sentence, [*methods, *named, *regions])
    anchors |= {match.span(): {label} for label, match in mentions}
    readable = sentence.without([*methods, *invented])
    numbers = number_claims(sentence, readable, anchors, known, findings)
    labels = {label for label, _ in mentions}
    classes = [
        _class_claim(sentence, label, match, labels, numbers, findings) for label, match in mentions
        if label == findings.prediction.label or not clauses.disclaimed(sentence.text, match.start())
    ]
    sides = _side_claims(sentence, regions, anchors, findings)
    certainty = _certainty_claims(sentence, regions, numbers, findings)
    if not numbers and not certainty:
        facts = [match.span() for label, match in mentions if label == findings.prediction.label and stated_as_fact(sentence.text, match.start())]
        certainty = [sentence.claim("certainty", span, (), "a class stated as a fact") for span in facts[:1]]
    return [*methods, *regions, *invented, *numbers, *classes, *sides, *certainty, *_image_claims(sentence, findings)]


def _bare_statement(sentence: Sentence, rest: str) -> list[Claim]:
    """A sentence without any claim says something that is not in the findings, unless it speaks of its own limits."""
    text = sentence.text
    if clauses.says_nothing(text, rest):
        return []
    first = len(text) - len(text.lstrip(" \t-*•\n"))
    return [sentence.claim("statement", (first, len(text.rstrip())), (), "nothing in the findings says so")]


def _method_claims(sentence: Sentence, findings: Findings) -> list[Claim]:
    claims = []
    for pattern, path, key in ((_ARCHITECTURE, "model", findings.model), (_CAM, "cam_method", findings.cam_method)):
        for match in pattern.finditer(sentence.text):
            name = re.sub(r"[^a-z0-9+]", "", match.group().lower()).replace("++", "pp").replace("plusplus", "pp")
            name = re.sub(r"^gradientweighted\w*?maps?(?:ping)?", "gradcam", re.sub(r"^scoreweighted\w*?maps?(?:ping)?", "scorecam", name))
            same = name == re.sub(r"[^a-z0-9]", "", key.lower())
            claims.append(sentence.claim("method", match.span(), (path,), "" if same else f"the findings say {key}"))
    return claims


def _region_claims(sentence: Sentence, named: list[Claim], findings: Findings) -> tuple[list[Claim], dict[tuple[int, int], set[str]]]:
    """Claims of place, and for each mention the indices of the regions it stands for."""
    anatomy, claims, anchors = findings.anatomy, [], {}
    listed = [words.stem(region.name) for region in anatomy.regions]
    for match in words.structures(sentence.without(named)):
        name = words.stem(match.group())
        indices = [i for i, known in enumerate(listed) if known == name or known.startswith(name + " ")]
        lobe = name.split()[0] if match.lastgroup == "lobe" else None
        evidence = tuple(f"anatomy.regions[{i}].name" for i in indices)
        if lobe and (lobe in (anatomy.lobe or "") or lobe in {words.LOBE_OF.get(known) for known in listed}):
            evidence = ("anatomy.lobe",)
        if not evidence and match.lastgroup != "atlas" and clauses.disclaimed(sentence.text, match.start()):
            continue
        anchors[match.span()] = {f"region {i}" for i in indices} or {"elsewhere"}
        claims.append(sentence.claim("region", match.span(), evidence, "" if evidence else "not named in the findings"))
    for match in _OUTSIDE.finditer(sentence.text):
        outside = anatomy.outside_atlas_probability
        weighed = re.search(r"probab|per ?cent|\d", sentence.text) or clauses.HEDGE.search(sentence.text)
        true = outside is not None and (outside >= 0.5 or not anatomy.regions or weighed)
        evidence = ("anatomy.outside_atlas_probability",)
        claims.append(sentence.claim("region", match.span(), evidence if true else (), "" if true else "not found so"))
    return claims, anchors


def _class_mentions(sentence: Sentence, findings: Findings) -> list[tuple[str, re.Match[str]]]:
    labels = set(findings.prediction.probabilities) | set(words.CLASS_WORDS)
    return [
        (label, match) for label in sorted(labels)
        for match in re.finditer(
            rf"\b(?:{words.CLASS_WORDS.get(label, re.escape(label))})\b"
            r"(?! (?:stalk|fossa|(?:macro|micro)?adenoma))", sentence.text, re.I)
        if not re.match(r" gland", sentence.text[match.end():], re.I) or " of the " in match.group().lower()
    ]


def _class_claim(
    sentence: Sentence, label: str, match: re.Match[str], labels: set[str], numbers: list[Claim], findings: Findings
) -> Claim:
    """The predicted class must be affirmed; another may stand only as the lesser choice or with its own probability."""
    path = f"prediction.probabilities.{label}"
    before, after = sentence.text[: match.start()], sentence.text[match.end():]
    counterfactual = re.search(r"\b(?:were|had|if|should|unless|supposing)\b[^.,;]{0,25}$", before, re.I)
    if label == findings.prediction.label:
        denied = re.search(r"\b(?:no|not|without|never|excludes?|rather than|ahead of|followed by|instead of)"
                           r"(?: (?:a|an|the|evidence of|consistent with|typical of|of|likely))*\s*$", before, re.I)
        denied = denied and not counterfactual or re.match(r"\s+(?:is|was|can be) (?:not\b(?! (?:yet |fully )?(?:certain|sure|proven|confirmed|clear|established))|excluded|unlikely|ruled out)\b", after, re.I)
        reason = "the predicted class is denied" if denied else ""
        return sentence.claim("class", match.span(), ("prediction.label",), reason)
    own_number = any(path in claim.evidence and claim.supported for claim in numbers)
    lesser = own_number or not counterfactual and _BEHIND.search(before) or _BEHIND_AFTER.match(after) or len(labels) > 2
    reason = "" if lesser else f"the findings say {findings.prediction.label}"
    return sentence.claim("class", match.span(), (path,), reason)


def _side_claims(sentence: Sentence, regions: list[Claim], anchors: dict[tuple[int, int], set[str]],
                 findings: Findings) -> list[Claim]:
    anatomy, claims = findings.anatomy, []
    undetermined = re.search(r"\b(?:side|hemisphere|lateralit\w+|left)\b", sentence.text, re.I)
    undetermined = undetermined and not regions and clauses.UNDETERMINED.search(sentence.text)
    if undetermined:
        wrong = "" if anatomy.hemisphere == "not determinable" else f"the findings say {anatomy.hemisphere}"
        claims.append(sentence.claim("side", undetermined.span(), ("anatomy.hemisphere",), wrong))
    readable = _NO_SIDE.sub(lambda match: "#" * len(match.group()), sentence.text)
    for match in () if undetermined else _SIDE.finditer(readable):
        side = match.group(1).lower()
        indices = _side_belongs_to(match.span(), sentence, anchors)
        found = {anatomy.regions[i].hemisphere for i in indices} or {anatomy.hemisphere}
        if side.startswith("b"):
            true = {"left", "right"} <= {region.hemisphere for region in anatomy.regions}
        else:
            true = side in found
        if re.search(r"\b(?:not|rather than) (?:in |on |at )?(?:the )?$", readable[: match.start()], re.I):
            true = not true
        evidence = tuple(f"anatomy.regions[{i}].hemisphere" for i in indices) or ("anatomy.hemisphere",)
        claims.append(sentence.claim("side", match.span(), evidence if true else (),
                                     "" if true else f"the findings say {' and '.join(sorted(found))}"))
    return claims


def _side_belongs_to(span: tuple[int, int], sentence: Sentence, anchors: dict[tuple[int, int], set[str]]) -> list[int]:
    """Indices of the regions that a side word directly precedes or follows; empty for a side of the whole lesion."""
    def indices(names: set[str]) -> list[int]:
        return [int(name.split()[1]) for name in names if name.startswith("region ")]

    for (first, last), names in sorted(anchors.items()):
        if re.fullmatch(r"[\s-]*(?:sided|lateral|hemispher(?:ic|e)|cerebral)?\s*", sentence.text[span[1]:first]) and first >= span[1]:
            return indices(names)
    for (first, last), names in sorted(anchors.items()):
        between = sentence.text[last:span[0]]
        if last <= span[0] and re.fullmatch(r"\s*[(\[,:–-]?\s*(?:(?:on|of|in) the|side:?|hemisphere:?)?\s*", between):
            return indices(names)
    return []


def _image_claims(sentence: Sentence, findings: Findings) -> list[Claim]:
    claims = []
    for match in words.PLANE.finditer(sentence.text):
        wrong = "" if match.lastgroup == findings.plane else f"the findings say {findings.plane}"
        claims.append(sentence.claim("plane", match.span(), ("plane",), wrong))
    others = [
        sentence.claim("modality", match.span(), (), f"the findings say {findings.modality}")
        for match in re.finditer(rf"\b(?:{words.OTHER_MODALITIES})", sentence.text, re.I)
        if not clauses.disclaimed(sentence.text, match.start())
    ]
    own = [
        sentence.claim("modality", match.span(), ("modality",))
        for match in re.finditer(rf"(?<![\w-])(?:{words.OWN_MODALITY})\b", sentence.without(others), re.I)
    ]
    if empty := _EMPTY.search(sentence.text):
        true = findings.mask.area_pixels == 0
        evidence = ("mask.area_pixels",) if true else ()
        claims.append(sentence.claim("number", empty.span(), evidence, "" if true else "the mask is not empty"))
    disclaimer = clauses.NOT_FOR_DIAGNOSIS.search(sentence.text)
    return [*claims, *others, *own, *([sentence.claim("disclaimer", disclaimer.span())] if disclaimer else [])]


def _invented_claims(sentence: Sentence, known: list[Claim]) -> list[Claim]:
    """What no finding can support: other diagnoses, signs, counts, patients, advice; a disclaimer asserts none of them."""
    claims = []
    for kind, span, reason in inventions(sentence.without(known)):
        denied = clauses.NEGATION.search(sentence.text[: span[0]])
        if clauses.disclaimed(sentence.text, span[0]):
            continue
        if kind in ("advice", "method") and (denied or ADVICE_EXEMPT.search(sentence.text)):
            continue
        if kind == "advice" and "considered" in sentence.text[slice(*span)] and any(claim.kind in ("class", "region") for claim in known):
            continue  # another class or place that might be considered is a lesser choice, no advice
        meant = "negation" if denied and kind in ("class", "observation") else kind
        claims.append(sentence.claim(meant, span, (), reason))
    return claims


def _certainty_claims(sentence: Sentence, regions: list[Claim], numbers: list[Claim], findings: Findings) -> list[Claim]:
    """Words stronger than the evidence, and an uncertain place stated as a fact."""
    claims = [sentence.claim("certainty", span, (), "stronger than the findings") for span in overconfident(sentence.text)]
    named = [claim for claim in regions if claim.supported and "regions" in claim.evidence[0]]
    if named and findings.anatomy.certainty == "uncertain" and not numbers and not clauses.HEDGE.search(sentence.text):
        span = (named[0].start - sentence.start, named[0].end - sentence.start)
        claims.append(sentence.claim("certainty", span, (), "an uncertain place stated as a fact"))
    return claims


def _missing(text: str, claims: list[Claim], findings: Findings) -> tuple[tuple[str, ...], int]:
    """Expected facts the report does not state, and how many were expected."""
    stated = {path for claim in claims if claim.supported for path in claim.evidence}
    sides = {claim.text.lower() for claim in claims if claim.kind == "side" and claim.supported}
    anatomy, label = findings.anatomy, findings.prediction.label
    hedged = any(clauses.HEDGE.search(part.text) and _PLACE.search(part.text) for part in sentences(text))
    no_area = findings.mask.area_pixels == 0 and re.search(r"mask (?:is|was) empty|empty mask|no area", text, re.I)
    expected = {
        "class": "prediction.label" in stated,
        "class probability": f"prediction.probabilities.{label}" in stated,
        "plane": findings.plane == "unknown" or "plane" in stated,
        "modality": "modality" in stated,
        "network": "model" in stated,
        "saliency method": "cam_method" in stated,
        "mask area": bool(no_area or stated & {"mask.area_percent", "mask.area_pixels"}),
        "not for diagnosis": any(claim.kind == "disclaimer" for claim in claims),
        "uncertainty of the place": hedged,
    }
    if findings.mask.area_pixels:
        expected["side"] = "anatomy.hemisphere" in stated or anatomy.hemisphere in sides
    for index in range(min(EXPECTED_REGIONS, len(anatomy.regions))):
        expected[f"region {anatomy.regions[index].name}"] = f"anatomy.regions[{index}].name" in stated
        expected[f"probability of {anatomy.regions[index].name}"] = f"anatomy.regions[{index}].probability" in stated
    if anatomy.outside_atlas_probability is not None and anatomy.outside_atlas_probability >= 0.5:
        expected["outside the atlas"] = "anatomy.outside_atlas_probability" in stated
    for index, flag in enumerate(findings.quality_flags):
        expected[f"flag {flag}"] = f"quality_flags[{index}]" in stated
    return tuple(name for name, found in expected.items() if not found), len(expected)
