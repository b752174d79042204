"""The baseline writer: fixed sentences with the findings filled in, no language model at all."""

from __future__ import annotations

from xai.findings import Findings
from xai.reports.phrases import NOT_FOR_DIAGNOSIS, Phrases, listing, phrases


def template_report(findings: Findings) -> str:
    """A complete report of `findings` in fixed wording."""
    words = phrases(findings)
    sections = (_technique(words), _findings(words), _impression(words), _limitations(words))
    return "\n\n".join(" ".join(section) for section in sections)


def _technique(words: Phrases) -> list[str]:
    return [
        f"Technique: One {words.plane} slice of {words.modality} ({words.matrix}) was analysed.",
        f"The class was predicted by {words.architecture} and the relevant area was marked with {words.method}.",
    ]


def _findings(words: Phrases) -> list[str]:
    alternatives = f", ahead of {words.alternatives}" if words.alternatives else ""
    lines = [
        f"Findings: The classifier assigns the slice to {words.class_name} "
        f"with a probability of {words.class_probability}{alternatives}."
    ]
    if words.empty:
        return [*lines, "The saliency mask is empty, so no area can be measured or localised."]
    lines.append(f"The saliency mask covers {words.area}.")
    if words.dice:
        lines.append(f"Its agreement with the segmentation head is Dice {words.dice}.")
    lines.append(_side(words))
    if words.mni:
        lines.append(f"The estimated centroid in MNI space is {words.mni}.")
    lines.extend(_regions(words))
    return lines


def _side(words: Phrases) -> str:
    if words.hemisphere == "not determinable":
        return "The side of the lesion is not determinable."
    if words.hemisphere == "midline":
        return "The mask lies in the midline."
    return f"The mask lies in the {words.hemisphere} hemisphere."


def _regions(words: Phrases) -> list[str]:
    if not words.regions:
        return [f"No Harvard-Oxford region could be named{_outside(words)}."]
    adverb = {"likely": "likely", "possible": "possibly"}.get(words.certainty, "with low certainty")
    listed = listing([
        f"the {name} (probability {probability}, overlap {overlap} of the mask)"
        for name, probability, overlap in words.regions
    ])
    lines = [f"It {adverb} involves {listed}."]
    if words.outside:
        lines.append(f"The probability of lying outside the atlas is {words.outside}.")
    return lines


def _outside(words: Phrases) -> str:
    return f"; the probability of lying outside the atlas is {words.outside}" if words.outside else ""


def _impression(words: Phrases) -> list[str]:
    lines = [f"Impression: The slice is classified as {words.class_name} ({words.class_probability})."]
    if words.regions:
        name = words.regions[0][0]
        lines.append({
            "likely": f"The most likely location is the {name}.",
            "possible": f"A location in the {name} is possible.",
        }.get(words.certainty, f"The location is uncertain, with the {name} the first candidate."))
    else:
        lines.append("The location cannot be named from the atlas.")
    return lines


def _limitations(words: Phrases) -> list[str]:
    lines = ["Limitations: The localisation is estimated from a single slice and is uncertain."]
    if words.scatter:
        lines.append(f"Its standard deviation through the plane is {words.scatter}.")
    if words.flags:
        lines.append(f"Quality flags: {'; '.join(words.flags)}.")
    lines.append(NOT_FOR_DIAGNOSIS)
    return lines
