"""The words by which a report makes claims: structures, diagnoses, sequences, patients, certainty."""

from __future__ import annotations

import re
from functools import lru_cache

# The structures of the Harvard-Oxford cortical and subcortical atlases, by lobe.
HARVARD_OXFORD = {
    "frontal": (
        "frontal pole", "superior frontal gyrus", "middle frontal gyrus", "inferior frontal gyrus pars triangularis",
        "inferior frontal gyrus pars opercularis", "precentral gyrus", "frontal medial cortex",
        "juxtapositional lobule cortex", "subcallosal cortex", "frontal orbital cortex", "frontal operculum cortex",
        "central opercular cortex",
    ),
    "temporal": (
        "temporal pole", "superior temporal gyrus anterior division", "superior temporal gyrus posterior division",
        "middle temporal gyrus anterior division", "middle temporal gyrus posterior division",
        "middle temporal gyrus temporooccipital part", "inferior temporal gyrus anterior division",
        "inferior temporal gyrus posterior division", "inferior temporal gyrus temporooccipital part",
        "temporal fusiform cortex anterior division", "temporal fusiform cortex posterior division",
        "planum polare", "heschl's gyrus", "planum temporale",
    ),
    "parietal": (
        "postcentral gyrus", "superior parietal lobule", "supramarginal gyrus anterior division",
        "supramarginal gyrus posterior division", "angular gyrus", "precuneous cortex", "parietal operculum cortex",
    ),
    "occipital": (
        "lateral occipital cortex superior division", "lateral occipital cortex inferior division",
        "intracalcarine cortex", "cuneal cortex", "lingual gyrus", "temporal occipital fusiform cortex",
        "occipital fusiform gyrus", "supracalcarine cortex", "occipital pole",
    ),
    "insular": ("insular cortex",),
    "limbic": (
        "paracingulate gyrus", "cingulate gyrus anterior division", "cingulate gyrus posterior division",
        "parahippocampal gyrus anterior division", "parahippocampal gyrus posterior division",
    ),
    "subcortical": (
        "lateral ventricle", "thalamus", "caudate", "putamen", "pallidum", "brain stem", "hippocampus", "amygdala",
        "accumbens", "cerebral white matter",
    ),
}
LOBE_OF = {name: lobe for lobe, names in HARVARD_OXFORD.items() for name in names}

# What writers call the same structures; a synonym stands for the atlas's name.
SYNONYMS = {
    "insula": "insular cortex", "precuneus": "precuneous cortex", "cuneus": "cuneal cortex",
    "brainstem": "brain stem", "caudate nucleus": "caudate", "nucleus accumbens": "accumbens",
    "globus pallidus": "pallidum", "supplementary motor cortex": "juxtapositional lobule cortex",
    "supplementary motor area": "juxtapositional lobule cortex", "heschl gyrus": "heschl's gyrus",
    "lateral ventrical": "lateral ventricle",
}

# Anatomy that the atlas cannot name: a report that names it has it from elsewhere.
OTHER_ANATOMY = (
    r"cerebell(?:um|ar)(?: hemisphere| vermis)?|cerebellopontine angle|corpus callosum|pons|midbrain|medulla|"
    r"basal ganglia|internal capsule|optic (?:chiasm|nerve|tract)|sella(?: turcica)?|(?:supra|para|intra)?sellar|"
    r"cavernous sinus|pineal(?: gland)?|hypothalamus|(?:third|fourth) ventricle|ventricles|ventricular|falx|tentorium|"
    r"convexity|sphenoid wing|olfactory groove|posterior fossa|skull base|orbits?|dura(?: mater)?|dural|"
    r"(?:superior )?sagittal sinus|infundibulum|pituitary (?:stalk|gland|fossa)|clivus|meninges|calvari(?:um|al)|"
    r"frontoparietal|temporoparietal|parietooccipital|frontotemporal|vertebral artery|internal carotid"
)
UNKNOWN_STRUCTURE = r"[a-z]+(?:[ -][a-z]+)?[ -](?:gyrus|gyri|cortex|lobule|operculum|sulcus|fissure|nucleus)"
NOT_A_STRUCTURE = {
    "a", "an", "and", "any", "atlas", "cerebral", "cortical", "each", "in", "listed", "named", "no", "of", "one", "or",
    "other", "that", "the", "this", "within",
}

# Diagnoses beside the three classes, including finer ones (adenoma) and grades that no finding holds.
OTHER_DIAGNOSES = (
    r"glioblastomas?|astrocytomas?|oligodendrogliomas?|ependymomas?|medulloblastomas?|metastas[ei]s|metastatic|"
    r"lymphomas?|schwannomas?|(?:pituitary )?(?:macro|micro)?adenomas?|craniopharyngiomas?|abscess(?:es)?|infarct\w*|"
    r"stroke|aneurysms?|multiple sclerosis|demyelinat\w+|(?:low|high)[- ]grade|(?:who )?grade [ivx1-4]+|malignan\w+|"
    r"benign|aggressive|neoplastic recurrence|carcinomas?"
)
CLASS_WORDS = {
    "glioma": r"gliomas?",
    "meningioma": r"meningiomas?",
    "pituitary": r"pituitary(?: (?:tumou?rs?|lesions?|mass(?:es)?|class|neoplasms?))?",
}

OTHER_MODALITIES = (
    r"\bCT\b|computed tomograph\w+|\bPET\b|positron emission|T2(?:[- ]?weighted|\*)?|\bFLAIR\b|\bDWI\b|"
    r"diffusion[- ]weighted|\bADC\b|ultrasound|x-?rays?|spectroscop\w+|angiogra\w+|perfusion|non[- ]?contrast|"
    r"unenhanced|without contrast"
)
OWN_MODALITY = (
    r"(?:contrast[- ]enhanced|post[- ]?contrast|gadolinium[- ]enhanced)?[ ,]*T1(?:[- ]weighted)?|contrast[- ]enhanced|"
    r"post[- ]?contrast|gadolinium(?:[- ]enhanced)?|\bMRI?\b|magnetic resonance"
)

# Signs a radiologist would look for; the findings hold none of them, present or absent.
OBSERVATIONS = (
    r"mass effect|midline shift|(?:peritumou?ral )?o?edema|ha?emorrhag\w+|necro\w+|calcif\w+|hydrocephalus|herniation|"
    r"cystic|cysts?|dural tail|restricted diffusion|infiltrat\w+|(?:ring|rim|homogeneous|heterogeneous)[- ]enhanc\w+|"
    r"enhanc(?:es|ing)\b|hyperintens\w+|hypointens\w+|invasion|invad\w+|compress\w+|vascular\w*|satellite lesions?|"
    r"well[- ]circumscribed|ill[- ]defined|irregular (?:margins?|borders?)|atrophy"
)
COUNTS = (
    r"(?:two|three|four|five|several|multiple|numerous|many) (?:\w+ )?(?:lesions|masses|tumou?rs|foci)|multifocal|"
    r"multicentric"
)
PATIENT = (
    r"\d+[- ]year[- ]olds?|\d+[- ]years? (?:old|of age)|aged? (?:of )?\d+|years? old|"
    r"\b(?:wo)?man\b|\bmale\b|\bfemale\b|\bgentleman\b|\blady\b|\bboy\b|\bgirl\b|\bhe\b|\bshe\b|\bhis\b|\bher\b|"
    r"history of|medical history|clinical history|present(?:s|ed|ing) with|complain\w+|headaches?|seizures?|"
    r"symptom\w*|smok(?:er|ing)|famil(?:y|ial)|previous (?:surgery|treatment)|prior (?:surgery|treatment|imaging|scan)"
)
ADVICE = (
    r"biops\w+|surg(?:ery|ical)|resect\w+|radiotherapy|chemotherapy|steroids?|follow[- ]up|"
    r"treat(?:ment|ed)|medication|referral|neurosurg\w+"
)
OVERCONFIDENT = (
    r"definit(?:ively|ive|ely|e)|certain(?:ly)?\b|confirm(?:s|ed|ing)?|diagnostic of|pathognomonic|undoubtedly|"
    r"without (?:a )?doubt|no doubt|proven|proves|conclusive(?:ly)?|unequivocal(?:ly)?|clearly|guarantee\w*|"
    r"classic(?:al)? for|100 ?% (?:sure|confident)"
)
NORMALITY = (
    r"no (?:\w+ )?(?:tumou?r|lesion|mass|abnormalit(?:y|ies))\b|unremarkable|\bnormal\b|"
    r"free of (?:tumou?r|disease)"
)

# A clause that disclaims does not assert: "mass effect was not assessed" claims no mass effect. "Cannot be excluded" is
# no disclaimer: it brings up what the findings do not hold.
_DISCLAIMER = re.compile(
    r"not (?:been )?(?:assess|evaluat|available|provided|supplied|known|given|determin|stated|include|contain|consider"
    r"|account)\w*|(?:can|could)(?: ?not|n't) be (?:assess|evaluat|determin|inferr)\w*|not a substitute|"
    r"no (?:clinical|patient) (?:history|information|details|data)|"
    r"(?:are|is|were|was) (?:unavailable|unknown|not part)|"
    r"may (?:move|shift|displace|distort)|no information (?:on|about)", re.I
)
_CLAUSE = re.compile(r";|, (?:but|and|however|while|whereas)\b")
NEGATION = re.compile(
    r"\b(?:no|not|cannot|can't|without|never|neither|nor|rather than|than|less)\b[\w\s,'-]{0,40}$", re.I
)
UNDETERMINED = re.compile(
    r"not (?:be )?(?:reliably )?(?:determin|assign|establish|given|known|specif)\w*|(?:cannot|could not) be \w+|"
    r"undetermined|indeterminate|unknown|not reliable|unresolved", re.I
)
NOT_FOR_DIAGNOSIS = re.compile(
    r"not (?:\w+ )?(?:for|to be used for|intended for|meant for|suitable for)\s(?:\w+ ){0,2}diagnos\w+|"
    r"not a (?:diagnosis|medical device)", re.I
)
HEDGE = re.compile(
    r"uncertain\w*|possibl[ey]|likely|probabl[ey]|may\b|might\b|could\b|estimat\w+|approximate\w*|suggest\w*|"
    r"candidate|low certainty|tentative\w*|not determinable|cannot|could not|presumed", re.I
)


def disclaimed(text: str, position: int) -> bool:
    """Whether the clause of the sentence `text` around `position` only says what is not known."""
    edges = [match.start() for match in _CLAUSE.finditer(text)]
    first = max((edge for edge in edges if edge < position), default=0)
    last = min((edge for edge in edges if edge > position), default=len(text))
    return _DISCLAIMER.search(text[first:last]) is not None


def stem(name: str) -> str:
    """A structure's name for comparison: lower case, no side, no punctuation, atlas spelling of synonyms."""
    name = re.sub(r"\(.*?\)", " ", name.lower().replace("_", " "))
    name = name.replace("gyri", "gyrus").replace("brain-stem", "brain stem")
    name = re.sub(r"[,\-/]", " ", name)
    words = " ".join(word for word in name.split() if word not in ("left", "right"))
    return SYNONYMS.get(words, words)


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    names = set(LOBE_OF) | set(SYNONYMS)
    names |= {re.sub(r" (?:anterior|posterior|superior|inferior) division$| temporooccipital part$| pars \w+$", "", name)
              for name in names}
    longest_first = sorted(names, key=len, reverse=True)
    flexible = "|".join(r"[\s,_-]+".join(re.escape(word) for word in name.split()) for name in longest_first)
    flexible = flexible.replace("gyrus", "gyr(?:us|i)")
    lobes = r"(?:frontal|parietal|temporal|occipital|insular|limbic)[ -](?:lobes?|region)"
    known = re.compile(rf"\b(?:(?P<atlas>{flexible})|(?P<lobe>{lobes})|(?P<other>{OTHER_ANATOMY}))\b", re.I)
    return known, re.compile(rf"\b(?P<unknown>{UNKNOWN_STRUCTURE})\b", re.I)


def structures(text: str) -> list[re.Match[str]]:
    """Mentions of brain structures, in order.

    The match's `lastgroup` says which: ``atlas`` (a Harvard-Oxford structure, with or without its division),
    ``lobe``, ``other`` (known anatomy the atlas cannot name) or ``unknown`` (ends like a structure, such as "gyrus").
    """
    known, unknown = _patterns()
    found = list(known.finditer(text))
    rest = known.sub(lambda match: "#" * len(match.group()), text)
    for match in unknown.finditer(rest):
        if set(re.split(r"[ -]", match.group().lower())[:-1]) - NOT_A_STRUCTURE:
            found.append(match)
    return sorted(found, key=lambda match: match.start())
