"""What a clause does with its words: deny, disclaim, hedge, limit; and sentences that say nothing of the slice."""

from __future__ import annotations

import re

_EDGE = re.compile(r";|, (?:but|and|however|while|whereas|yet|though|although)\b")
NEGATION = re.compile(
    r"\b(?:no|not|cannot|can't|without|never|neither|nor|rather than|than|less|absence of|free of|lack(?:s|ing)?)\b[\w\s,'-]{0,40}$",
    re.I,
)
_NEGATED = re.compile(
    r"\b(?:no|not|cannot|neither|nor|nothing|none|nobody|never|without|unable|impossible|lack(?:s|ing|ed)?|insufficient|missing|absent|beyond"
    r"|outside|un(?:known|available|clear|certain|determined|resolved|specified|recorded|reported|assessed|evaluated|decided|measured|tested|graded|verified|confirmed))\b|n't\b",
    re.I,
)
# What one does with information, as against what one sees on a slice: "not assessed" disclaims, "not seen" denies.
_KNOWING = re.compile(
    r"\b(?:(?:re)?assess\w*|evaluat\w*|examin\w*|analy[sz]\w*|look(?:ed|ing)? (?:at|for|into)|consider\w*|review\w*|investigat\w*|address\w*|"
    r"comment\w*|discuss\w*|stat(?:e|es|ed|ing|ement)|suppl(?:y|ied)|provid\w*|give[ns]?|furnish\w*|shar(?:e|ed)|disclos\w*|reveal\w*|communicat\w*|transmit\w*|convey\w*|enter(?:ed)?|submitted|availab\w*|unavailab\w*|"
    r"access\w*|(?:at|to|on) hand|(?:our|my|its) disposal|obtain\w*|acquired|known?\b|unknown|inform\w*|details?|data\b|input|record(?:s|ed)?|"
    r"includ\w*|contain\w*|part of (?:the|this|our|its) \w+|hold|deriv\w*|infer\w*|determin\w*|undetermined|judg\w*|decid\w*|conclu\w*|establish\w*|assign\w*|name[ds]?|"
    r"naming|estimat\w*|quantif\w*|distinguish\w*|tell|told|sa(?:y|id)|settle\w*|resolv\w*|fix|allow\w*|permit\w*|support\w*|possible|scope|"
    r"answer\w*|interpret\w*|correlat\w*|compar\w*|verif\w*|check\w*|account\w*|substitut\w*|replace\w*|tested|modelled|modeled|specif\w*|"
    r"draw(?:n)?|ma(?:k|d)e|purpose|context|background|measur\w*|count(?:ed)?|grad(?:e|es|ed|ing)|report(?:s|ed)?|describ\w*|attempt\w*|recommend\w*|advis\w*|confirm\w*|valid\w*|enter|used?|intended|meant|suitable|rul(?:e|ed) on|clear|certain|sure|label)\b", re.I
)
_SEEING = re.compile(
    r"\b(?:seen|visible|noted|found|evident|present|observed|demonstrated|shown|appreciated|detected|apparent|identified|excluded|ruled out|"
    r"signs? of|evidence of|features? of|no known|(?:sees?|saw|finds?|observes?|notes?|detects?|discerns?|appreciates?|perceives?|demonstrates?) (?:no|neither)|(?:do|does|did) not (?:see|observe|discern|appreciate|perceive|notice|detect)|looks?(?! (?:at|for|into))|appears?)\b", re.I
)
# Words that disclaim by themselves.
_WITHHELD = re.compile(
    r"\b(?:withheld|undisclosed|redacted|anonymi[sz]ed|omitted|left out|left open|remains? open|open question|ignored|disregarded|unexamined|unanswered|unaddressed|"
    r"unavailable|silent|blank|unknown|unnamed|unlabell?ed|undetermined|unspecified|unsettled|not applicable|n/a|empty-handed|in vain|unsuccessful)\b|"
    r"\b(?:anonymous|pseudonym\w*|de-?identified)\b|\b(?:details?|names?|data|identit\w+|dates?)\b(?: \w+){0,4} (?:removed|stripped|deleted|erased)\b|"
    r"\b(?:poorly|barely|hardly|partly|incompletely|sparsely) (?:covered|represented|labell?ed|resolved)\b|\bnot (?:an? |among (?:the |its )?)?(?:options?|classes|choices?|categories|labels)\b|"
    r"\b(?:must|should|may|can|do|does) not (?:be )?(?:rel(?:y|ied)|based?|guided?|used?|replaced?|substituted?|inform|serve|influence|steer)\b|"
    r"\bonly\b.*\b(?:available|provided|supplied|given|at hand|received|submitted|accessible)\b", re.I
)
# Who or what works on the slice, as against what is seen in it.
_WORK = (
    r"(?:software|models?|networks?|classifiers?|programs?|programmes?|algorithms?|tools?|systems?|pipelines?|methods?|approach|analys[ie]s|reports?|texts?|document|"
    r"summary|outputs?|results?|stud(?:y|ies)|data|inputs?|files?|records?|atlas|computer|machine|AI|we|I)"
)
_IGNORANT = (
    r"(?:unaware|ignorant|ignores?|blind|silent|agnostic|oblivious|in the dark|know(?:s|ing)? nothing|says? nothing|no idea|no (?:way|means) (?:of|to)|no access|"
    r"(?:cannot|can't|could not|unable to|not able to|not (?:designed|built|trained|meant|made|equipped|asked|in a position) to) \w+)"
)
_IGNORANCE = re.compile(rf"\b{_WORK}\b[\w\s,'()/-]{{0,40}}\b{_IGNORANT}\b", re.I)
_WORK_DENIES = re.compile(rf"\b{_WORK}\b[\w\s,'()/-]{{0,25}}\b(?:no|not|never|neither|nothing)\b", re.I)
# Beyond what the work is for, or left to people: "outside its remit", "for a physician to decide", "rests with clinicians".
_PEOPLE = r"(?:physicians?|clinicians?|doctors?|radiologists?|patholog\w+|specialists?|surgeons?|neurosurgeons?|experts?|humans?|people|others|someone else|readers?|treating \w+)"
_ELSEWHERE = re.compile(
    r"\b(?:outside|beyond|not (?:with)?in|out of|exceeds?)\b(?: [\w'-]+){0,3} (?:remit|scope|reach|brief|range|capabilit\w+|abilit\w+|tasks?|competence|purview|aims?|domain|power|means)\b|"
    rf"\b(?:for|to|with|by|of) (?:an? |the |human |trained |qualified |treating |responsible ){{0,3}}{_PEOPLE} (?:to|alone|and not|rather)\b|"
    rf"\b(?:left|up|rests?|reserved|belongs?|remains?|lies?|falls?|a matter|the task|the job|the domain|the business) (?:\w+ ){{0,2}}?(?:to|with|for|of) (?:\w+ ){{0,2}}?{_PEOPLE}\b|"
    r"\b(?:in|on) (?:the )?(?:other|adjacent|neighbou?ring|further|remaining) (?:slices|images|sections|levels|planes)\b|\b(?:outside|beyond) (?:this|the|that) (?:one |single )?(?:slice|image|section)\b|"
    rf"\b(?:is|are|remains?) for (?:the |an? )?{_PEOPLE}\b|\b{_PEOPLE} (?:\w+ )?decides?\b|\btreating \w+ decides?\b|"
    rf"\b{_PEOPLE} (?:should|must|may|needs to|has to|ought to|is to|can) (?:\w+ )?(?:read|look at|review|check|verify|confirm|interpret|judge|decide|assess|inspect)\b(?!.*\bpatient)|"
    r"\bonly (?:an? )?(?:histolog\w+|biops\w+|patholog\w+|tissue|surgery|experts?|follow-?up) (?:\w+ )?(?:can|could|would|may|will)\b|\b(?:anyone's|anybody's) guess\b", re.I
)
# What a report of one picture would have to bring from elsewhere: to say that there is none of it is no finding.
_FROM_ELSEWHERE = (
    r"(?:(?:clinical|medical|family|past) )?histor(?:y|ies)\b(?! of)|symptoms?\b(?! of)|complaints?\b|age\b|sex\b|gender\b|demographic\w*|clinical \w+|anamnesis|treatment\w*|therap(?:y|ies|eutic \w+)|"
    r"management|advice|recommendations?|follow-?up|prognos[ie]s|prognostic \w+|grad(?:e|es|ing)\b|staging|stage|sub-?typ(?:e|es|ing)\b|histolog\w+|histopatholog\w+|patholog\w+|molecular \w+|genetic \w+|"
    r"patient (?:data|details?|information|record)|laborator\w+|(?:prior|previous|earlier|older|other|further|additional|second) (?:\w+ )?(?:imag\w+|scans?|stud(?:y|ies)|exam\w*|sequences?|planes?|series|slices?|readers?|readings?|opinions?|report\w*)|"
    r"biops(?:y|ies)|comparison"
)
_NONE_OF_IT = re.compile(
    rf"\b(?:no|without(?: any| an?)?|neither|nor|lack(?:s|ed|ing)?(?: of)?(?: any)?|absence of(?: any| an?)?|nothing (?:on|about|of|regarding|concerning)|not (?:any|even an?))\s"
    rf"(?:[\w-]+[ ,]+){{0,3}}?(?:{_FROM_ELSEWHERE})(?!.*\b(?:needed|required|necessary|indicated|warranted)\b)", re.I
)
# "Grading would need tissue": what it takes to know more.
_WOULD_TAKE = re.compile(
    r"^\W*(?:(?:an?|the|any|reliable|definite|definitive|final|firm|true|exact|tumou?r|WHO|histological|molecular) )*(?:grad(?:e|es|ing)|sub-?typ\w+|typing|diagnos[ie]s|confirmation|proof|certainty|volumes?|prognos[ie]s|staging)\b"
    r".*\b(?:would (?:need|require|take|call for|depend)|needs?|requires?|calls? for|takes|depends? on|can only|come[s]? from)\b", re.I
)
# "The network knows three classes only": what lies beyond them is a limit of it.
_CLOSED_SET = re.compile(r"\b(?:three|these|those|its|known|available|possible|given|the|among) (?:\w+ )?(?:classes|categories|labels)\b", re.I)
_BEYOND_SET = re.compile(r"\b(?:only|not|no|any other|other than|beyond|else|nothing|none|never|always|must|forced)\b", re.I)
# The passive of not having done: "was not counted", "are not described". What is not seen, or has not happened to the brain, is denied instead.
_NOT_DONE = re.compile(r"(?:\bnot|\bnever|n't)(?: (?:be|been|being|yet|further|separately|specifically|\w+ly))* (\w+(?:ed|en|wn|ought|old|aid|ead|one|ade))\b", re.I)
_HAPPENED = re.compile(
    r"affected|involved|\w*pressed|displaced|shifted|infiltrated|invaded|widened|enlarged|dilated|thickened|narrowed|moved|pushed|crossed|reached|touched|changed|altered|destroyed|eroded|spread|"
    r"raised|increased|reduced|restricted|calcified|swollen|enhanced|surrounded|blocked|effaced|distorted|treated|operated|admitted|irradiated|impaired|injured|broken|spared|grown|deviated|"
    r"suspected|needed|required|warranted|indicated|expected", re.I
)

_SHIFT = re.compile(r"\b(?:displac|shift|distort|deform|mov)\w*\b.*\b(?:atlas|template|registration|matching|names?)\b|\b(?:atlas|template|registration)\b.*\b(?:displac|shift|distort|deform)\w*|\b(?:slice|section|image|picture|position|placement|centroid|location)s?\b (?:\w+ ){0,3}(?:displac|shift|mov)\w*|\b(?:may|might|can|could|would) (?:have )?(?:move|shift|displace|distort)\w*|not a substitute", re.I)
UNDETERMINED = re.compile(
    r"not (?:be )?(?:reliably |safely )?(?:determin|assign|establish|given|known|specif|told|distinguish|settled|decid|resolv|named|certain|clear|"
    r"inferr|derived|recorded|stated|possible)\w*|(?:cannot|could not|can't) be \w+|undetermined|indeterminate|unknown|not reliable|unresolved|"
    r"unclear|undecided|unspecified|(?:stays?|remains?|left|is|are) open\b|no (?:side|hemisphere|lateralit\w+)\b|neither (?:side|left)", re.I
)
NOT_FOR_DIAGNOSIS = re.compile(
    r"not (?:\w+ ){0,3}?(?:for|to be used for|intended for|meant for|suitable for|fit for|as)\s(?:\w+ ){0,2}diagnos\w+|"
    rf"\bdiagnos[ie]s (?:\w+ ){{0,3}}?(?:made|given|established|set|confirmed|reached|rendered|left|rests?|remains?|lies|belongs|reserved|is a matter) (?:only |solely |always |in the hands )?(?:by|to|with|for|of) (?:\w+ ){{0,3}}?{_PEOPLE}\b|"
    r"\bnon-?diagnostic\b(?! (?:quality|imag|scan|stud|exam|slice))|"
    r"not (?:\w+ ){0,2}(?:a|any) (?:\w+ )?(?:diagnosis|medical device)|not (?:be )?used? (?:for|to|in) (?:\w+ )?diagnos\w+|"
    r"\b(?:nothing|none|unfit|unsuitable|unsuited|inappropriate)\b.{0,60}\bdiagnos\w+|\bdiagnos\w+\b.{0,60}\bnot (?:this|the|an?|from|by|on) (?:\w+ ){0,2}(?:program\w*|software|text|report|tool|machine|network|model|output)\b|"
    r"\b(?:physicians?|doctors?|clinicians?|radiologists?) (?:\w+ )?(?:makes?|gives?|provides?) (?:the |an? )?diagnos\w+|"
    r"\b(?:not?|never|neither|nor|n't)\b(?:(?!\b(?:doubt|question|exclud|rul|wrong)).){0,60}\bdiagnos\w+|"
    r"\bdiagnos\w+(?:(?!\b(?:doubt|question|exclud|rul|wrong)).){0,40}\b(?:not (?:allowed|permitted|intended|meant|possible|supported|provided|advised|recommended)|prohibited|excluded use)", re.I
)
HEDGE = re.compile(
    r"uncertain\w*|possibl[ey]|likely|probabl[ey]|may\b|might\b|could\b|estimat\w+|approximate\w*|suggest\w*|candidate|low certainty|tentative\w*|"
    r"not determinable|cannot|could not|presum\w+|unclear|not (?:\w+ )?(?:clear|certain|sure)|whether|perhaps|conceivabl\w+|guess\w*|unsure|"
    r"doubt\w*|potential\w*|plausibl[ey]|suspect\w*|seems?\b|appears?\b|suppos\w+|roughly|hypothe\w+|option|little confidence|low confidence|"
    r"weak(?:ly)?|caution|provisional\w*|in all (?:likelihood|probability)|indicat\w+|points? (?:most )?(?:\w+ )?to|with reserve|speculat\w+|assum\w+|arguabl\w+|vague\w*|\bor\b", re.I
)
_LIMIT = re.compile(
    r"uncertain\w*|approximat\w+|estimat\w+|tentative\w*|guess\w*|caution\w*|careful\w*|rough(?:ly)?|imprecis\w+|inexact|ambigu\w+|limit\w+|"
    r"only\b|single|lone|one (?:slice|image|section)|2-?D\b|two[- ]dimension\w+|errors?\b|wrong|unreliab\w+|unsure|doubt\w*|may\b|might\b|could\b|"
    r"at best|at most|mere(?:ly)?|prone|would|never|tend(?:s|ed|ency)?\b|too (?:high|low|sure)|overconfiden\w*|suggestions?|suggested|should be|must be (?:checked|verified|reviewed|confirmed)|ought to|unnoticed|undetected|unseen|overlook\w*|misse[sd]|mislead\w*|misplace\w*|misjudge\w*|not be relied|caveats?|reserv\w+|sceptic\w*|skeptic\w*|salt\b|face value|indicative|illustrat\w+|orientation|suggestive|question\w*|"
    r"cannot|not\b|no\b|none\b|fail\w*|healthy|averaged?|provisional|coarse|depends?|based on|inferr\w+|matching|template", re.I
)
_ABOUT_THE_WORK = re.compile(
    r"\b(?:confidence|maps?|classes|misclassif\w*|sequences?|errors?|mistakes?|positions?|positional|where\b|place names?|labels?|names?|locat\w+|locali[sz]\w+|places?|placement|sites?|anatom\w*|atlas\w*|naming|slices?|images?|coordinates?|mapping|registration|"
    r"regions?|results?|outputs?|reports?|texts?|document|summary|analys[ie]s|predictions?|probabilit\w+|research|stud(?:y|ies)|heat ?maps?|"
    r"saliency|masks?|tools?\b|pipelines?|machines?|algorithms?|assignments?|structures?|readers?|radiologists?|experts?|physicians?|clinicians?|clinical\w*|software|automat\w+|computer|network|classifier|section)\b", re.I
)
_REPORT_ITSELF = re.compile(
    r"\b(?:report|text|document|summary|output|description)\b.*\b(?:generat|writ|produc|automat|research|based|made|creat|compil)\w*|"
    r"\b(?:research|investigational|experimental|academic|demonstration|study|educational|teaching)\b.*\b(?:use|purposes?|output|only|setting)\b|\b(?:academic|research|student|teaching|educational|technical|experimental) (?:exercise|prototype|demonstration|demo|project|experiment)\b", re.I
)
# A sentence whose subject is the text, or the place as such, is on the work: what it says of the slice would be a claim of another kind.
_ON_THE_WORK = re.compile(
    r"^\W*(?:(?:the|this|that|these|all|its|any|every|an?|please|where|named|anatomical|individual|exact\w*|what|how|most|region|place|do|not|to|of|from|in|use|treat|take|read|regard|see|verify|check|distrust|expect|note)\W+){0,4}"
    r"(?:positions?|positional|places?|placement|locations?|locali[sz]ation|region names?|names?|anatomy|atlas|registration|matching|coordinates?|step from|depth|landmarks?|heat ?maps?|saliency|reports?|texts?|"
    r"document|sentences?|output|software|program|tool|pipeline|data|probabilities|image quality|purpose|research|experimental|review|human review|finding lies|region is an?|regions are)\b", re.I
)
_EXPLAINS = re.compile(
    r"\b(?:maps?|heat ?maps?|saliency|attention|colou?rs?|mask|network|classifier|model|method)\b.*\b(?:show|mark|indicat|reflect|highlight|contribut|influenc|matter|drove|"
    r"driv|focus|attend|look|relevan|important|weigh|us)(?:s|ed|es|ing|ance|ant)?\b", re.I
)
_HEADING = re.compile(r"^\W*(?:\w+(?:[ /&-]+\w+){0,2}|(?:how|what|where|why|which|about|words?|notes?|points?)(?: [\w'’-]+){1,6})\W*:?\W*$", re.I)


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
    if any(pattern.search(text) for pattern in (_SHIFT, _WITHHELD, _IGNORANCE, _ELSEWHERE, _WOULD_TAKE)):
        return True
    if _CLOSED_SET.search(text) and _BEYOND_SET.search(text):
        return True
    if _SEEING.search(text):
        return False
    done = _NOT_DONE.search(text)
    if done and not _HAPPENED.fullmatch(done.group(1)) or _WORK_DENIES.search(text) or _NONE_OF_IT.search(text):
        return True
    return bool(_NEGATED.search(text) and _KNOWING.search(text))


def disclaimed(text: str, position: int) -> bool:
    """Whether the clause of the sentence `text` around `position` disclaims."""
    return disclaims(clause(text, position))


def limits(text: str) -> bool:
    """Whether a sentence speaks of how far the work can be trusted, or of the report itself, and of nothing on the slice."""
    return bool(_LIMIT.search(text) and _ABOUT_THE_WORK.search(text)) or any(
        pattern.search(text) for pattern in (_REPORT_ITSELF, _EXPLAINS, _ON_THE_WORK)
    )


def is_heading(text: str, rest: str) -> bool:
    """Whether a sentence is a heading: at most three words, closed by a colon or a line's end, and no bullet."""
    stripped = re.sub(r"^(?:\(?(?:\d{1,2}|[A-Za-z])[.)]|[IVX]+[.)])\s+(?=[A-Z])", "", text.strip().strip("#*_ "))
    if stripped.endswith(":"):
        return _HEADING.match(stripped) is not None
    return not re.match(r"[-*•]|\d+[.)]", stripped) and not stripped.endswith(".") and _HEADING.match(stripped) is not None and (
        rest.startswith("\n")
    )


def only_asked(text: str, rest: str) -> bool:
    """Whether a sentence is a question that the next one leaves open: "Is there oedema? Not assessed." claims no oedema."""
    answer = re.match(r"\s*([^.!?\n]+)", rest)
    return text.rstrip().endswith("?") and answer is not None and disclaims(answer[1])


def says_nothing(text: str, rest: str) -> bool:
    """Whether a sentence is no statement on the slice: a heading, quoted flags (``#``), a disclaimer, or a limit of the work."""
    if "#" in text or not re.search(r"[A-Za-z]{2}", text) or is_heading(text, rest) or limits(text):
        return True
    return all(disclaims(part) for part in re.split(r";|, (?:but|and)\b", text))
