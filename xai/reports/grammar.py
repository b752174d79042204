"""A GBNF grammar in which every value is fixed by the findings and only wording and order are free.

A language model decoding under it cannot write another number, class, side or region: the tokens are not there.
Syntax: https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence

from xai.findings import Findings
from xai.reports.phrases import NOT_FOR_DIAGNOSIS, Phrases, listing, phrases

GAP = "\n\n"
_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"')


def literal(text: str) -> str:
    """`text` as a GBNF string; quotes, backslashes and anything outside printable ASCII are escaped."""
    def escaped(character: str) -> str:
        if character in '"\\':
            return "\\" + character
        return character if " " <= character <= "~" else f"\\U{ord(character):08X}"

    return '"' + "".join(map(escaped, text)) + '"'


def choice(*options: str) -> str:
    """One of several sentences, with the space that separates it from the one before."""
    return "(" + " | ".join(literal(f" {option}") for option in dict.fromkeys(options)) + ")"


def any_order(rules: Iterable[str]) -> str:
    """The given rules, each once, in any order."""
    return "(" + " | ".join(" ".join(order) for order in itertools.permutations(rules)) + ")"


def build_grammar(findings: Findings) -> str:
    """The grammar of all reports that are true to `findings`; its root is the whole report."""
    words = phrases(findings)
    rules = {
        **_technique(words), **_class_rules(words), **_mask_rules(words), **_place_rules(words), **_impression(words),
        **_limitations(words),
    }
    parts = {
        "technique": ['"Technique:"', *_named(rules, "technique-")],
        "findings": ['"Findings:"', "class-line", any_order(_named(rules, "mask-")), *_named(rules, "place-")],
        "impression": ['"Impression:"', *_named(rules, "impression-")],
        "limitations": ['"Limitations:"', any_order(_named(rules, "limits-")), choice(NOT_FOR_DIAGNOSIS)],
    }
    rules |= {name: " ".join(body) for name, body in parts.items()}
    root = f" {literal(GAP)} ".join(parts)
    return "\n".join([f"root ::= {root}", *(f"{name} ::= {body}" for name, body in rules.items())]) + "\n"


def literals(grammar: str) -> list[str]:
    """The strings of a grammar made here, as written in it (quoted and escaped)."""
    return _LITERAL.findall(grammar)


def token_grammar(grammar: str, tokenize: Callable[[str], Sequence[int]]) -> str:
    """The same grammar over tokens: every string replaced by the model's own tokens for it.

    Over characters a small model is free to spell "mask" as "m", "as", "k", and does: texts take twice the tokens,
    and the choice of a wording hangs on odd fragments.
    """
    def tokens(match: re.Match[str]) -> str:
        return " ".join(f"<[{token}]>" for token in tokenize(_unescaped(match.group())))

    return _LITERAL.sub(tokens, grammar)


def _unescaped(text: str) -> str:
    return re.sub(r"\\U([0-9A-F]{8})|\\(.)", lambda m: chr(int(m[1], 16)) if m[1] else m[2], text[1:-1])


def _named(rules: dict[str, str], prefix: str) -> list[str]:
    return [name for name in rules if name.startswith(prefix)]


def _technique(words: Phrases) -> dict[str, str]:
    plane, modality, network, method = words.plane, words.modality, words.architecture, words.method
    return {
        "technique-image": choice(
            f"A single {plane} {modality} slice was examined.",
            f"One {plane} slice of a {modality} series was evaluated.",
            f"This report is based on a single {plane} slice from {modality}.",
            f"The examination consists of one {plane} {modality} image.",
        ),
        "technique-method": choice(
            f"Classification was performed with {network}, and {method} was used to highlight the relevant area.",
            f"{network} provided the class, while {method} provided the saliency map.",
            f"A saliency map was computed with {method} for the prediction of {network}.",
            f"The image was classified by {network} and explained by {method}.",
        ),
    }


def _class_rules(words: Phrases) -> dict[str, str]:
    name, value = words.class_name, words.class_probability
    rest = f", ahead of {words.alternatives}." if words.alternatives else "."
    also = f"; the remaining classes are {words.alternatives}." if words.alternatives else "."
    return {
        "class-line": choice(
            f"The image is most consistent with {name}, with a classifier probability of {value}{rest}",
            f"The network favours {name} with a probability of {value}{rest}",
            f"The predicted class is {name}, at a probability of {value}{also}",
            f"Among the three classes, {name} is ranked first with a probability of {value}{also}",
            f"The appearance was classified as {name} (probability {value}){rest}",
        )
    }


def _mask_rules(words: Phrases) -> dict[str, str]:
    if words.empty:
        return {"mask-area": choice(
            "The saliency mask is empty, and no area could be measured.",
            "No area was highlighted: the saliency mask is empty.",
        )}
    rules = {"mask-area": choice(
        f"The highlighted area occupies {words.area}.",
        f"The saliency mask measures {words.area}.",
        f"The marked region of interest covers {words.area}.",
        f"In extent, the highlighted area amounts to {words.area}.",
    )}
    if words.dice:
        rules["mask-dice"] = choice(
            f"It agrees with the segmentation head with a Dice coefficient of {words.dice}.",
            f"The Dice agreement with the segmentation head is {words.dice}.",
            f"Compared with the segmentation head, the agreement is Dice {words.dice}.",
        )
    return rules


def _place_rules(words: Phrases) -> dict[str, str]:
    if words.empty:
        return {}
    rules = {"place-side": _side(words.hemisphere)}
    if words.mni:
        rules["place-centre"] = choice(
            f"Its estimated centre in MNI space is {words.mni}.",
            f"The centroid is estimated at MNI coordinates {words.mni}.",
            f"In MNI space the centroid lies approximately at {words.mni}.",
        )
    rules["place-regions"] = _regions(words)
    if words.outside:
        rules["place-outside"] = choice(
            f"The probability of a position outside the atlas is {words.outside}.",
            f"With a probability of {words.outside}, the area lies outside the atlas.",
            f"A position outside the atlas has a probability of {words.outside}.",
        )
    return rules


def _side(hemisphere: str) -> str:
    if hemisphere == "not determinable":
        return choice(
            "The side is not determinable from this slice.", "Laterality could not be determined.",
            "The hemisphere is not determinable.",
        )
    if hemisphere == "midline":
        return choice("It is located in the midline.", "The highlighted area lies at the midline.",
                      "The position is midline.")
    return choice(
        f"It lies in the {hemisphere} hemisphere.", f"The highlighted area is located in the {hemisphere} hemisphere.",
        f"The area is {hemisphere}-sided.", f"The lesion area projects over the {hemisphere} hemisphere.",
    )


def _regions(words: Phrases) -> str:
    if not words.regions:
        return choice("No Harvard-Oxford region could be named.", "The area could not be assigned to any atlas region.",
                      "No region of the Harvard-Oxford atlas could be assigned.")
    openers = {
        "likely": ("The area likely involves", "Likely involved are", "The most likely localisation is"),
        "possible": ("The area possibly involves", "Possible localisations are", "Involvement is possible of"),
    }.get(words.certainty, (
        "The localisation is uncertain; candidates are", "With low certainty, the area may involve",
        "Uncertain candidate regions are",
    ))
    forms = (
        "the {0} (probability {1}, overlap {2} of the mask)",
        "the {0} (probability {1}; {2} of the mask)",
        "the {0}, with a probability of {1} and an overlap of {2}",
    )
    # One form for all regions of a sentence: mixing them reads as carelessness.
    listed = [
        listing([form.format(*region) for region in words.regions], ";" if "with" in form else ",") for form in forms
    ]
    return f"{choice(*openers)} {choice(*(f'{text}.' for text in listed))}"


def _impression(words: Phrases) -> dict[str, str]:
    name, value = words.class_name, words.class_probability
    rules = {"impression-class": choice(
        f"Findings suggest {name} (classifier probability {value}).",
        f"Appearances are most in keeping with {name}, at a classifier probability of {value}.",
        f"The leading consideration is {name}, with a probability of {value}.",
        f"The automated reading favours {name} ({value}).",
    )}
    if not words.regions:
        rules["impression-place"] = choice(
            "The anatomical location could not be named.", "No anatomical location can be given.",
            "The location remains uncertain.",
        )
        return rules
    region = words.regions[0][0]
    rules["impression-place"] = {
        "likely": choice(f"It is likely located in the {region}.", f"The likely location is the {region}.",
                         f"The localisation points to the {region} as the likely site."),
        "possible": choice(f"It is possibly located in the {region}.", f"A possible location is the {region}.",
                           f"Involvement of the {region} is possible."),
    }.get(words.certainty, choice(
        f"The location is uncertain; the {region} is one candidate.",
        f"Its location is uncertain and may include the {region}.",
        f"Localisation to the {region} is uncertain.",
    ))
    return rules


def _limitations(words: Phrases) -> dict[str, str]:
    rules = {
        "limits-place": choice(
            "The localisation is an estimate from one slice and remains uncertain.",
            "Localisation from a single slice is only approximate.",
            "The anatomical position was estimated from one slice and should be read as uncertain.",
        ),
    }
    if words.scatter:
        rules["limits-scatter"] = choice(
            f"The standard deviation of the position through the plane is {words.scatter}.",
            f"Through the plane, the position is uncertain by {words.scatter} (standard deviation).",
        )
    if words.flags:
        flags = "; ".join(words.flags)
        rules["limits-flags"] = choice(f"Quality flags: {flags}.", f"The following quality flags were raised: {flags}.")
    return rules
