"""What a set of phrasings is: sentences with gaps by topic, ways to write values, and inventions by kind."""

from __future__ import annotations

from dataclasses import dataclass

# Topics of a report in the order of its four sections; a sentence may use a gap only where the findings fill it.
TOPICS = {
    "technique": ("image", "method"),
    "findings": ("class", "others", "area", "dice", "side", "centre", "regions", "lobe", "outside"),
    "impression": ("impression", "place"),
    "limitations": ("estimate", "spread", "flags", "silence", "purpose"),
}

# Kinds of planted errors: a value of the findings replaced, or a sentence added that nothing in them supports.
REPLACED = {
    "class": "another class",
    "class probability": "another probability of the class",
    "side": "the other side",
    "region": "a region that was not found",
    "region number": "another probability or share of a region",
    "plane": "another plane",
    "size": "another area of the mask",
    "length": "another position or spread in mm or cm",
    "agreement": "another Dice",
    "network": "another network",
    "saliency method": "another saliency method",
    "certainty of the place": "an uncertain place stated as a fact",
}
INVENTED = {
    "confidence wording": "words stronger than the findings",
    "negation": "a sign said to be absent",
    "sign": "a sign said to be present",
    "diagnosis": "a finer or other diagnosis, or a grade",
    "modality": "another sequence or scanner",
    "age or sex": "age or sex of the patient",
    "history": "symptoms or history",
    "therapy": "treatment or advice",
    "measurement": "a diameter, volume or other number",
    "count": "more than one lesion",
    "anatomy": "a structure beyond the atlas",
    "second method": "a method, data set or reader that was not used",
}
KINDS = REPLACED | INVENTED


@dataclass(frozen=True)
class Wording:
    """One way of writing reports, made without a look at the words the checker knows.

    Attributes
    ----------
    sentences : dict
        Topic -> sentences with gaps such as ``{plane}``. Topics beyond `TOPICS`: ``empty`` (the mask is empty), ``unsided``,
        ``midline``, ``nowhere`` (no region named) replace ``area``, ``side`` and ``regions``.
    place, hedges, regions : dict, dict, tuple
        Sentences on the place by certainty (``likely``, ``possible``, ``uncertain``), openings of the list of regions by
        certainty, and ways to write one region of it.
    stated : tuple of str
        The place as a fact, which an uncertain one must not be.
    planes, modality, classes, networks, methods : dict or tuple
        Names of the values.
    percents : tuple of str
        Ways of writing a share: ``0``, ``1`` (decimals), a unit after them, or ``words``.
    headings : tuple
        Headings of the four sections, or None for running text.
    inventions : dict
        Kind -> sentences that no findings support.
    """

    name: str
    sentences: dict[str, tuple[str, ...]]
    place: dict[str, tuple[str, ...]]
    hedges: dict[str, tuple[str, ...]]
    regions: tuple[str, ...]
    stated: tuple[str, ...]
    planes: dict[str, tuple[str, ...]]
    modality: tuple[str, ...]
    classes: dict[str, tuple[str, ...]]
    networks: dict[str, tuple[str, ...]]
    methods: dict[str, tuple[str, ...]]
    percents: tuple[str, ...]
    fractions: tuple[str, ...]
    lengths: tuple[str, ...]
    triples: tuple[str, ...]
    sided: tuple[str, ...]
    headings: tuple[tuple[str, str, str, str] | None, ...]
    bullets: tuple[str, ...]
    inventions: dict[str, tuple[str, ...]]
