"""What a clause does with its words: deny, disclaim, hedge, limit; and sentences that say nothing of the slice."""

from __future__ import annotations

import re

_EDGE = re.compile(r";|, (?:but|and|however|while|whereas|so|yet|though|although)\b")
NEGATION = re.compile(
    r"\b(?:no|not|cannot|can't|without|never|neither|nor|rather than|than|less|absence of|free of|lack(?:s|ing)?)\b[\w\s,'-]{0,40}$",
    re.I,
)
_NEGATED = re.compile(
    r"\b(?:no|not|cannot|neither|nor|nothing|none|nobody|never|without|unable|impossible|lack(?:s|ing|ed)?|insufficient|missing|absent|beyond"
    r"|outside|un(?:known|available|clear|certain|determined|resolved|specified|recorded|reported|assessed|evaluated|decided))\b|n't\b",
    re.I,
)
# What one does with information, as against what one sees on a slice: "not assessed" disclaims, "not seen" denies.
_KNOWING = re.compile(
    r"\b(?:(?:re)?assess\w*|evaluat\w*|examin\w*|analy[sz]\w*|look(?:ed|ing)? (?:at|for|into)|consider\w*|review\w*|investigat\w*|address\w*|"
    r"comment\w*|discuss\w*|stat(?:e|es|ed|ing|ement)|suppl(?:y|ied)|provid\w*|give[ns]?|furnish\w*|shar(?:e|ed)|disclos\w*|reveal\w*|communicat\w*|transmit\w*|convey\w*|enter(?:ed)?|submitted|availab\w*|unavailab\w*|"
    r"access\w*|(?:at|to|on) hand|(?:our|my|its) disposal|obtain\w*|acquired|known?\b|unknown|inform\w*|details?|data\b|input|record(?:s|ed)?|"
    r"includ\w*|contain\w*|part of|hold|deriv\w*|infer\w*|determin\w*|undetermined|judg\w*|decid\w*|conclu\w*|establish\w*|assign\w*|name[ds]?|"
    r"naming|estimat\w*|quantif\w*|distinguish\w*|tell|told|sa(?:y|id)|settle\w*|resolv\w*|fix|allow\w*|permit\w*|support\w*|possible|scope|"
    r"answer\w*|interpret\w*|correlat\w*|compar\w*|verif\w*|check\w*|account\w*|substitut\w*|replace\w*|tested|modelled|modeled|specif\w*|"
    r"draw(?:n)?|ma(?:k|d)e|purpose|used?|intended|meant|suitable|rul(?:e|ed) on|clear|certain|sure|label)\b", re.I
)
_SEEING = re.compile(
    r"\b(?:seen|visible|noted|found|evident|present|observed|demonstrated|shown|appreciated|detected|apparent|identified|excluded|ruled out|"
    r"signs? of|evidence of|features? of|no known|looks?(?! (?:at|for|into))|appears?)\b", re.I
)
# Words that disclaim by themselves.
_WITHHELD = re.compile(
    r"\b(?:withheld|undisclosed|redacted|anonymi[sz]ed|omitted|left out|left open|remains? open|open question|ignored|disregarded|unexamined|unanswered|unaddressed|"
    r"unavailable|silent|blank|unknown|undetermined|unspecified|unsettled|not applicable|n/a|empty-handed|in vain|unsuccessful)\b|"
    r"\bonly\b.*\b(?:available|provided|supplied|given|at hand|received|submitted|accessible)\b", re.I
)
_SHIFT = re.compile(r"\b(?:may|might|can|could|would) (?:have )?(?:move|shift|displace|distort)\w*|not a substitute", re.I)
UNDETERMINED = re.compile(
    r"not (?:be )?(?:reliably |safely )?(?:determin|assign|establish|given|known|specif|told|distinguish|settled|decid|resolv|named|certain|clear|"
    r"inferr|derived|recorded|stated|possible)\w*|(?:cannot|could not|can't) be \w+|undetermined|indeterminate|unknown|not reliable|unresolved|"
    r"unclear|undecided|unspecified|no (?:side|hemisphere|lateralit\w+)\b|neither (?:side|left)", re.I
)
NOT_FOR_DIAGNOSIS = re.compile(
    r"not (?:\w+ ){0,3}?(?:for|to be used for|intended for|meant for|suitable for|fit for|as)\s(?:\w+ ){0,2}diagnos\w+|"
    r"not (?:\w+ ){0,2}(?:a|any) (?:\w+ )?(?:diagnosis|medical device)|not (?:be )?used? (?:for|to|in) (?:\w+ )?diagnos\w+|"
    r"\b(?:not?|never|neither|nor|n't)\b(?:(?!\b(?:doubt|question|exclud|rul|wrong)).){0,60}\bdiagnos\w+|"
    r"\bdiagnos\w+(?:(?!\b(?:doubt|question|exclud|rul|wrong)).){0,40}\b(?:not (?:allowed|permitted|intended|meant|possible|supported|provided|advised|recommended)|prohibited|excluded use)", re.I
)
HEDGE = re.compile(
    r"uncertain\w*|possibl[ey]|likely|probabl[ey]|may\b|might\b|could\b|estimat\w+|approximate\w*|suggest\w*|candidate|low certainty|tentative\w*|"
    r"not determinable|cannot|could not|presum\w+|unclear|not (?:\w+ )?(?:clear|certain|sure)|whether|perhaps|conceivabl\w+|guess\w*|unsure|"
    r"doubt\w*|potential\w*|plausibl[ey]|suspect\w*|seems?\b|appears?\b|suppos\w+|roughly|hypothe\w+|option|little confidence|low confidence|"
    r"weak(?:ly)?|caution|provisional\w*|in all (?:likelihood|probability)|indicat\w+|points? (?:most )?(?:\w+ )?to|\bor\b", re.I
)
_LIMIT = re.compile(
    r"uncertain\w*|approximat\w+|estimat\w+|tentative\w*|guess\w*|caution\w*|careful\w*|rough(?:ly)?|imprecis\w+|inexact|ambigu\w+|limit\w+|"
    r"only\b|single|lone|one (?:slice|image|section)|2-?D\b|two[- ]dimension\w+|errors?\b|wrong|unreliab\w+|unsure|doubt\w*|may\b|might\b|could\b|"
    r"at best|at most|mere(?:ly)?|prone|caveats?|reserv\w+|sceptic\w*|skeptic\w*|salt\b|face value|indicative|illustrat\w+|orientation|suggestive|question\w*|"
    r"cannot|not\b|no\b|none\b|fail\w*|provisional|coarse|depends?|based on|inferr\w+|matching|template", re.I
)
_ABOUT_THE_WORK = re.compile(
    r"\b(?:positions?|positional|where\b|place names?|labels?|names?|locat\w+|locali[sz]\w+|places?|placement|sites?|anatom\w*|atlas\w*|naming|slices?|images?|coordinates?|mapping|registration|"
    r"regions?|results?|outputs?|reports?|texts?|document|summary|analys[ie]s|predictions?|probabilit\w+|research|stud(?:y|ies)|heat ?maps?|"
    r"saliency|masks?|software|automat\w+|computer|network|classifier|section)\b", re.I
)
_REPORT_ITSELF = re.compile(
    r"\b(?:report|text|document|summary|output|description)\b.*\b(?:generat|writ|produc|automat|research|based|made|creat|compil)\w*|"
    r"\b(?:research|study|educational|teaching)\b.*\b(?:use|purposes?|output|only|setting)\b", re.I
)
_EXPLAINS = re.compile(
    r"\b(?:maps?|heat ?maps?|saliency|attention|colou?rs?|mask|network|classifier|model|method)\b.*\b(?:show|mark|indicat|reflect|highlight|contribut|influenc|matter|drove|"
    r"driv|focus|attend|look|relevan|important|weigh|us)(?:s|ed|es|ing|ance|ant)?\b", re.I
)
_HEADING = re.compile(r"^\W*(?:\w+(?:[ /&-]+\w+){0,2})\W*:?\W*$")


def clause(text: str, position: int) -> str:
    """The clause of the sentence `text` around `position`."""
    edges = [match.start() for match in _EDGE.finditer(text)]
    first = max((edge for edge in edges if edge < position), default=0)
    last = min((edge for edge in edges if edge > position), default=len(text))
    return text[first:last]


def disclaims(text: str) -> bool:
    """Whether a clause only says what is not known: "mass effect was not assessed" claims no mass effect.

    "Cannot be excluded" is no disclaimer, it brings up what the findings do not hold; nor is "not seen", it denies.
    """
    if _SHIFT.search(text) or _WITHHELD.search(text):
        return True
    return bool(_NEGATED.search(text) and _KNOWING.search(text) and not _SEEING.search(text))


def disclaimed(text: str, position: int) -> bool:
    """Whether the clause of the sentence `text` around `position` disclaims."""
    return disclaims(clause(text, position))


def limits(text: str) -> bool:
    """Whether a sentence speaks of how far the work can be trusted, or of the report itself, and of nothing on the slice."""
    return bool(_LIMIT.search(text) and _ABOUT_THE_WORK.search(text)) or any(
        pattern.search(text) for pattern in (_REPORT_ITSELF, _EXPLAINS)
    )


def is_heading(text: str, rest: str) -> bool:
    """Whether a sentence is a heading: at most three words, closed by a colon or a line's end, and no bullet."""
    stripped = re.sub(r"^(?:\(?(?:\d{1,2}|[A-Za-z])[.)]|[IVX]+[.)])\s+(?=[A-Z])", "", text.strip().strip("#*_ "))
    if stripped.endswith(":"):
        return _HEADING.match(stripped) is not None
    return not re.match(r"[-*•]|\d+[.)]", stripped) and not stripped.endswith(".") and _HEADING.match(stripped) is not None and (
        rest.startswith("\n")
    )


def says_nothing(text: str, rest: str) -> bool:
    """Whether a sentence is no statement on the slice: a heading, quoted flags (``#``), a disclaimer, or a limit of the work."""
    if "#" in text or not re.search(r"[A-Za-z]{2}", text) or is_heading(text, rest) or limits(text):
        return True
    return all(disclaims(part) for part in re.split(r";|, (?:but|and)\b", text))
