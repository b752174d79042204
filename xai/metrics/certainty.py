"""Words stronger than any network's probability: necessity, denied doubt, knowledge, finality, faultlessness."""

from __future__ import annotations

import re
from collections.abc import Iterator

from xai.metrics import clauses
from xai.metrics.inventions import ADVICE_EXEMPT
from xai.metrics.vocabulary import CLASS_WORDS

_CLASS = rf"(?:an? |the ){{0,2}}(?:{'|'.join(CLASS_WORDS.values())}|tumou?rs?\b|this\b|that\b|it\b|so\b|right\b|correct\b|true\b|the case\b)"
_ANSWER = r"(?:label|class(?:es|ification)?|diagnos[ie]s|explanation|possibilit(?:y|ies)|reading|options?|answer|prediction|result|verdict|conclusion|call|choice)"
_DOUBT = r"(?:doubt(?:s|ed|ing)?|questions?|questioned|disput\w+|dissent|object(?:s|ion)?|disagree\w*|contest\w*|reservations?|ambiguity)"

# What no context makes modest, unless it is itself denied.
_HARD = (
    # necessity
    rf"(?:must|has to|have to|needs to|can only|cannot but|could only|is bound to|is sure to) (?:\w+ly )?be {_CLASS}",
    r"(?:cannot|can't|could not|couldn't) be (?:anything|something|otherwise|any other)", rf"nothing (?:else|(?:but|other than) {_CLASS})",
    rf"(?:no|without)(?: any)? (?:other|alternative) (?:\w+ )?{_ANSWER}", rf"(?:the|there is|leaves?|allows?) only(?: one)? (?:\w+ )?{_ANSWER}", rf"the only (?:\w+ )?{_ANSWER}",
    rf"other (?:\w+ )?{_ANSWER}\b.{{0,20}}\b(?:excluded|dismissed|discarded|eliminated|impossible|out of the question)",
    r"rules? out\b", r"\w+ (?:is|are) ruled out\b",
    # doubt denied
    rf"(?:no|without|beyond|any|hardly(?: any(?:one|body)?)?|barely|scarcely|nobody|no one|none|free of)(?: \w+){{0,4}}? {_DOUBT}\b", r"doubts? (?:is|are|seems?) (?:not|un\w+|excluded|out of)", r"(?:cannot|can't|could not) have (?:\w+ )?(?:erred|been)|(?:cannot|can't|never|does not) err\b", r"(?:chance|odds|risk|possibility)s? of (?:an? )?(?:error|mistake)s? (?:is|are) (?:nil|zero|none)",
    rf"(?:cannot|can't|could not|not|never|hardly) be (?:\w+ )?(?:wrong|mistaken|false|{_DOUBT}|in doubt)", r"not (?:in|open to) (?:doubt|question|dispute)",
    r"un(?:doubted|questionabl|deniabl|mistak(?:e)?abl|ambiguous|equivocal|disputed|contested|erring)\w*", r"in(?:disputabl|controvertibl|contestabl|fallibl|dubitabl)\w*",
    r"irrefutabl\w*|flawless\w*|fault-?less\w*|fool-?proof|bullet-?proof|water-?tight|error-free|open[- ]and[- ]shut|overwhelming(?:ly)?|pathognomonic|guarantee\w*",
    r"without (?:error|fail)s?\b", r"(?:never|always) (?:\w+ )?(?:wrong|errs?|right|correct|mistaken|fails?)\b", r"(?:error|mistake)s? (?:is|are|can be|seems?) (?:\w+ly )?(?:impossible|excluded|ruled out|out of the question|unthinkable)",
    # knowledge and proof
    r"definit(?:ively|ive|ely|e)\b", r"confirm(?:s|ed|ing|ation)?\b", r"proven\b|prove[sd]?\b(?! (?:to be )?(?:too|hard|difficult|im\w+|in\w+|un\w+))|proof\b", r"conclusive(?:ly)?", r"diagnostic of", r"(?:we|I|one) (?:now |already )?know (?:that|for)\b",
    r"(?:has|have|is|was)(?: \w+)? (?:been )?(?:established|ascertained|secured|settled)\b", r"(?:am|are|is) (?:fully |quite |very |firmly )?(?:convinced|persuaded|positive)\b",
    r"\b(?:absolute|complete|total|full|perfect)(?:ly)? (?:sure|certain\w*|reliab\w+|correct|accurate|trust\w*)", r"(?:trusted|trust|rely on)(?: \w+)? (?:complete|full|blind|absolute)ly", r"100 ?% (?:sure|confident|certain)", r"(?:complete|full|absolute|total|utmost|perfect|every|entire|unreserved|unlimited|greatest|highest|maximum) confidence\b|(?:completely|fully|absolutely|totally|entirely|perfectly) confident\b",
    # finality and the pattern-book
    rf"{_ANSWER} (?:is|stands) (?:final|secure|safe|firm|correct|right|true|a fact|assured|beyond)\b", r"full stop|end of story|once and for all|set in stone|case(?: for [\w ]+ is)? closed|(?:plain|simple|is a) fact|safe to say|sure case|every certainty|in no way else|for (?:sure|certain)\b|a matter of fact",
    r"assured\b", r"text-?book", r"classic(?:al)?(?! (?:method|machine|algorithm))\b",
)  # fmt: skip
# What may also stand in a sentence on the limits of the work: "where it lies is clear to nobody", "certainty is limited".
_SOFT = (
    r"certain(?:ly)?\b(?! (?:extent|degree|amount|threshold|level|percent))", r"(?:quite|very|entirely|perfectly|be|am|are|is) sure\b", r"surely\b",
    r"clear(?:ly|[- ]cut)?\b", r"obvious(?:ly)?\b", r"evident(?:ly)?\b",
    r"(?:is|as|be|becomes?) (?:an? )?(?:\w+ )?certainty\b(?! of)", r"with (?:(?:absolute|complete|full|total|great|utter|high|near|virtual|every) )?certainty\b(?! of| \d)",
)  # fmt: skip
# A pattern that the class is said to fit is a strong word only where no probability stands beside it.
_TYPICAL = r"(?:typical|characteristic) (?:\w+ )?(?:of|for|appearance|look|example|case|picture)\b"

_STRONG = re.compile("|".join(rf"\b(?:{pattern})" for pattern in _HARD), re.I)
_STRONG_ALONE = re.compile("|".join(rf"\b(?:{pattern})" for pattern in _SOFT), re.I)
_PATTERN_BOOK = re.compile(rf"\b{_TYPICAL}", re.I)
# What comes before such a word and takes its strength: a requirement is not yet met, a denial denies it.
_NOT_YET = re.compile(
    r"\b(?:should|must|needs? to|has to|have to|to) be $|\b(?:requires?|needs?|awaits?|without|pending|lacks?|before|until|for want of)(?: \w+){0,2} $|"
    r"\b(?:nothing|nobody|none|unable|impossible|far from|low|little|less|limited|weak|moderate|poor|whether|if|as if)\b[\w\s,'-]{0,40}$", re.I
)


# A class without a number, a hedge, or a word that it is a network's choice: "this is a glioma".
_ASSERTS = re.compile(r"(?<!there )\b(?:is|was|represents?|constitutes?|calls?|called|(?:verified|identified|diagnosed) as)\s(?:\w+ ){0,3}$", re.I)
_NO_FACT = re.compile(
    r"\d|\b(?:networks?|models?|classif\w*|predict\w*|labels?|labell?ed|class(?:es)?|categor\w*|probab\w*|scor\w*|software|computer|machine|algorithm\w*|AI|automat\w*|vot\w+|rank\w*|favou?r\w*|most|best|"
    r"lead\w*|first|top|candidate\w*|choice|chosen|choose|prefer\w*|consistent|compatible|keeping|like|resembl\w*|fits?|differential|impression|conclusion|output|summary|reads?|assign\w*|rated?|(?:per ?cent|hundred)|other|name[sd]?|"
    r"weigh\w*|share|chance|odds|confiden\w*|belief|answer|not|no|if|percent)\b", re.I
)


def stated_as_fact(text: str, position: int) -> bool:
    """Whether a sentence says that something *is* of the class named at `position`, without number, hedge or source."""
    return bool(_ASSERTS.search(text[:position])) and not _NO_FACT.search(text) and not clauses.HEDGE.search(text)


def overconfident(text: str) -> Iterator[tuple[int, int]]:
    """Places of a sentence's words that are stronger than a probability allows."""
    modest = clauses.limits(text)
    for pattern in (_STRONG, _STRONG_ALONE, _PATTERN_BOOK):
        if pattern is not _STRONG and modest or pattern is _PATTERN_BOOK and re.search(r"\d", text):
            continue
        for match in pattern.finditer(text):
            before = text[: match.start()]
            obliges = match.group().lower().startswith(("must", "has to", "have to", "needs to")) and ADVICE_EXEMPT.search(text)
            if not (obliges or clauses.NEGATION.search(before) or _NOT_YET.search(before)):
                yield match.span()
