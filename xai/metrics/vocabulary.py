"""The words by which a report makes claims: structures, classes, sequences."""

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
    r"cerebell(?:um|ar)(?: hemispheres?| vermis| tonsils?)?|vermis|cerebellopontine angle|corpus callosum|splenium|genu|fornix|pons|pontine|midbrain|medulla(?: oblongata)?|"
    r"basal (?:ganglia|cisterns?)|(?:internal|external|extreme) capsule|optic (?:chiasm|nerves?|tracts?|radiations?)|chiasm|sella(?: turcica)?|(?:supra|para|intra)?sellar|"
    r"(?:cavernous|(?:superior |inferior )?sagittal|transverse|sigmoid|straight|sphenoid|ethmoid|maxillary|frontal|dural venous) sinus(?:es)?|pineal(?: gland| region)?|"
    r"hypothalamus|(?:third|fourth) ventricles?|ventricles|ventricular|aqueduct|cisterns?|falx(?: cerebri)?|tentori(?:um|al)|convexity|sphenoid(?:al)? (?:wing|ridge|bone)|"
    r"olfactory (?:groove|bulb|nerve)|posterior fossa|(?:anterior|middle) cranial fossa|skull(?: base)?|orbits?|dura(?: mater)?|dural|infundibulum|pituitary (?:stalk|gland|fossa)|"
    r"clivus|mening(?:es)|arachnoid|calvari(?:um|al)|bones?|scalp|frontoparietal|temporoparietal|parietooccipital|frontotemporal|"
    r"(?:vertebral|basilar|(?:internal )?carotid|(?:anterior|middle|posterior) cerebral|communicating) arter(?:y|ies)|arter(?:y|ies)|veins?|(?:cranial |facial |trigeminal )?nerves?|"
    r"internal carotid|circle of willis|sylvian fissure|central sulcus|spinal cord|cervicomedullary|foramen magnum|brain surface|septum pellucidum|claustrum|"
    r"substantia nigra|subthalamic|(?:cerebral )?peduncles?|colliculus|choroid plexus|centrum semiovale|corona radiata|periventricular|subcortical white matter"
)
UNKNOWN_STRUCTURE = r"[a-z]+(?:[ -][a-z]+)?[ -](?:gyrus|gyri|cortex|lobule|operculum|sulcus|fissure|nucleus)"
NOT_A_STRUCTURE = {
    "a", "adjacent", "an", "and", "another", "any", "atlas", "by", "cerebral", "cortical", "each", "every", "from", "in", "listed", "named",
    "neighbouring", "neighboring", "next", "no", "of", "one", "or", "other", "some", "that", "the", "this", "to", "which", "within", "wrong",
}

_KIND_OF = r"(?:tumou?rs?|lesions?|mass(?:es)?|class|neoplasms?|growths?)"
CLASS_WORDS = {
    "glioma": rf"gliomas?|glial {_KIND_OF}",
    "meningioma": rf"meningiomas?|mening(?:eal|othelial) {_KIND_OF}",
    "pituitary": rf"{_KIND_OF} of the (?:pituitary|hypophysis)(?: gland)?|(?:pituitary|hypophys[ei]al)(?: {_KIND_OF})?",
}

OTHER_MODALITIES = (
    r"\b(?:CT\b|computed tomograph\w+|PET\b|positron emission|SPECT\b|T2(?:[- ]?weighted|w|\*)?|FLAIR\b|STIR\b|DWI\b|DTI\b|SWI\b|GRE\b|MRA\b|MRS\b|fMRI\b|"
    r"functional (?:MRI?|imaging|magnetic)|tractograph\w+|diffusion(?:[- ]weighted| is| imaging)?\b|ADC\b|susceptibility|gradient[- ]echo|proton[- ]density|"
    r"ultraso\w+|x-?rays?|radiograph\w*|scintigra\w+|EEG\b|spectroscop\w+|spectr(?:um|a)\b|angiogra\w+|perfusion|(?:non|pre)[- ]?contrast|unenhanced|(?:without|before|prior to|no) (?:(?:any|the|intravenous|IV) )*(?:contrast|gadolinium)|"
    r"native (?:CT|T1|images?|scan)|\d(?:\.\d)?[- ]?T(?:esla)?\b|tesla\b|field strength|(?<!other )(?<!different )(?<!another )scanners?\b|slice thickness|echo time|repetition time)"
)
OWN_MODALITY = (
    r"(?:contrast[- ]enhanced|post[- ]?contrast|gadolinium[- ]enhanced|CE)?[ ,-]*T1(?:[- ]?(?:weighted|w(?:t?i)?|ce|gd|c))?(?:\+C|[- ]Gd)?|contrast[- ]enhanced|"
    r"post[- ]?(?:contrast|gadolinium)|gadolinium(?:[- ]enhanced)?|with (?:(?:intravenous|IV) )?contrast|contrast (?:medium|agent|material)|(?:after|following) (?:(?:intravenous|IV|the) )*contrast|\bMRI?\b|magnetic resonance"
)

# The group that matched is the plane; abbreviations count in capitals, or before what is cut.
_CUT = r"(?=[ .-]+(?:plane|slice|section|view|cut|image|orientation|reformat|T1|MRI?|CE|post|contrast)\w*)"
PLANE = re.compile(
    rf"\b(?:trans|para|mid)?(?:(?P<axial>axial(?:ly)?\b|transverse(?:ly)?\b|horizontal(?:ly)?\b(?! (?:line|axis|gaze|band|fissure))|(?-i:AX|Ax|TRA|Tra)\b|(?:ax|tra)\b{_CUT})|"
    rf"(?P<coronal>coronal(?:ly)?\b|(?-i:COR|Cor)\b|cor\b{_CUT}|frontal(?=[- ](?:plane|slice|section|view|cut|orientation)))|(?P<sagittal>sagittal(?:ly)?\b|(?-i:SAG|Sag)\b|sag\b{_CUT}))(?! sinus)", re.I
)


def stem(name: str) -> str:
    """A structure's name for comparison: lower case, no side, no punctuation, atlas spelling of synonyms."""
    name = re.sub(r"\(.*?\)", " ", name.lower().replace("_", " "))
    name = name.replace("gyri", "gyrus").replace("brain-stem", "brain stem")
    name = re.sub(r"[,\-/]", " ", name)
    words = " ".join(word for word in name.split() if word not in ("left", "right"))
    return SYNONYMS.get(words, words)


_LOBES = "frontal|parietal|temporal|occipital|insular|limbic"
_OF_LOBES = re.compile(r"\blob(?:es?|ar)\b|territor", re.I)
_BARE_LOBE = re.compile(rf"\b(?P<lobe>{_LOBES})\b", re.I)


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    names = set(LOBE_OF) | set(SYNONYMS)
    names |= {re.sub(r" (?:anterior|posterior|superior|inferior) division$| temporooccipital part$| pars \w+$", "", name)
              for name in names}
    longest_first = sorted(names, key=len, reverse=True)
    flexible = "|".join(r"[\s,_-]+".join(re.escape(word) for word in name.split()) for name in longest_first)
    flexible = flexible.replace("gyrus", "gyr(?:us|i)")
    lobes = rf"(?:{_LOBES})[ -](?:lobes?|region|territory)"
    known = re.compile(rf"\b(?:(?P<atlas>{flexible})|(?P<lobe>{lobes})|(?P<other>{OTHER_ANATOMY}))\b", re.I)
    return known, re.compile(rf"\b(?P<unknown>{UNKNOWN_STRUCTURE})\b", re.I)


@lru_cache(maxsize=4096)
def structures(text: str) -> tuple[re.Match[str], ...]:
    """Mentions of brain structures, in order.

    The match's `lastgroup` says which: ``atlas`` (a Harvard-Oxford structure, with or without its division),
    ``lobe``, ``other`` (known anatomy the atlas cannot name) or ``unknown`` (ends like a structure, such as "gyrus").
    """
    known, unknown = _patterns()
    found = list(known.finditer(text))
    rest = known.sub(lambda match: "#" * len(match.group()), text)
    if _OF_LOBES.search(text):
        found += _BARE_LOBE.finditer(rest)
    for match in unknown.finditer(rest):
        if set(re.split(r"[ -]", match.group().lower())[:-1]) - NOT_A_STRUCTURE:
            found.append(match)
    return tuple(sorted(found, key=lambda match: match.start()))
