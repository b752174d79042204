"""What reports tend to invent and no finding can hold: patients, symptoms, therapy, signs, counts, other methods.

Beside lists of words stand word forms: medical terms are built from few endings, so that one rule reads terms no list has.
"""

from __future__ import annotations

import re
from functools import lru_cache

_LESION = (
    r"(?:lesions?|mass(?:es)?|tumou?rs?|foc(?:us|i)|nodul(?:e|es|arity)|deposits?|spots?|abnormalit(?:y|ies)|growths?|implants?|neoplasms?|"
    r"gliomas?|meningiomas?|metastas[ei]s|opacit(?:y|ies))"
)
_NO_KIND = r"(?! (?:class|type|label|categor|kind|option|entit|probabilit|name)\w*)"  # "three tumour classes" counts no tumours
_TIME = r"(?:hours?|days?|weeks?|months?|years?|decades?)"

PATIENT = (
    rf"\d+[- ]?(?:year|yr|y)s?[- ]?olds?|\d+[- ]{_TIME}(?: (?:old|of age))?|age[ds]?\b|{_TIME}[ -]old|born\b|elderly\b|(?:wo)?m[ae]n\b|"
    r"(?:fe)?males?\b|gentlem[ae]n\b|lad(?:y|ies)\b|boys?\b|girls?\b|s?he\b|his\b|hers?\b|him\b|(?-i:Mr|Mrs|Ms)\b\.?(?= [A-Z])|sex\b|gender\b|"
    r"child(?:ren|hood)?\b|infants?\b|newborn\b|neonat\w+|toddler\b|teen(?:age\w*|s)?\b|adolescen\w+|young(?:er|ster)?\b|"
    r"(?:paed|ped)iatric\w*|geriatric\b|adults?\b|middle-aged|(?:twen|thir|for|fif|six|seven|eigh|nine)ties\b|"
    r"(?:quinqua|sexa|septua|octo|nona)genarian\b|pregnan\w+|postmenopaus\w+|ethnic\w*|caucasian\b|(?:right|left)[- ]handed\b|"
    r"(?<!left of the )(?<!right of the )(?<!side of the )patients?(?:['’]s?)?\b(?!['’]?s?['’]? (?:care|manage|safety|(?:own )?(?:left|right)\b))|subject (?:is|was|has|had)\b|this individual\b|volunteer\b"
)
HISTORY = (
    r"(?:medical |clinical |family |past )?histor(?:y|ies)\b|present(?:s|ed|ing|ation) with\b|complain\w*|suffer\w*|experienc(?:es?|ed|ing)\b(?! (?:radiolog|reader|physician|neuro|expert|doctor|clinician))|"
    r"(?:head|back|neck|tooth|ear)aches?\b|pain(?:s|ful)?\b|seiz\w+|epilep\w+|"
    r"convuls\w+|vomit\w*|nause\w*|dizz\w+|vertigo\b|weak(?:ness|er in)\b|numb(?:ness)?\b|tingl\w+|paralys\w+|palsy\b|"
    r"(?:double|blurred|blurry|impaired|loss of|poor|reduced) (?:vision|sight|hearing|memory|speech)\b|(?:vision|visual|sight|hearing|memory|"
    r"speech|gait|balance|cognitive|hormon\w+|mood|personality|behaviou?r\w*) (?:loss|disturb\w*|problems?|defic\w*|changes?|impair\w*|decline|"
    r"field|trouble|difficult\w*)|memory\b|confused\b|drows\w+|collaps\w+|unconscious\w*|coma\w*|fever\w*|"
    r"fatigue\w*|tired\w*|weight (?:loss|gain)\b|falls?\b (?:at|from|down)|trauma\w*|injur\w+|accident\b|galactorrh\w+|"
    r"infertil\w+|symptom\w*|asymptomatic\b|smok\w+|alcohol\w*|famil(?:y|ial)\b|(?:mother|father|sister|brother|sibling|"
    r"uncle|aunt|cousin|grand\w+|husband|wife)\b|(?:previous|prior|earlier|past|former|recent) (?:\w+ ){0,2}?(?:scan|imag|exam|stud|surg|operat|treat|resect|biops|MRI|CT|lesion|tumou?r|histor|episode|strok|seiz|report|radi|chemo)\w*|(?:previously|formerly|pre-?existing|known (?!to|as|from|within|only|region)|"
    r"recurrent|recurrence|residual(?! (?:\w+ )?(?:probabilit|share|weight|confiden|uncertain|chance|network|connection|error)\w*))\b|since\b (?:the )?(?:last|\d|\w+ (?:scan|exam))|ago\b|for (?:\w+ )?(?:days|weeks|months|years)\b|"
    rf"(?:one|two|three|four|five|six|several|some|few|many) {_TIME}\b|(?:in|since|of|from|until|on|by|during) (?:\w+ )?(?:19|20)\d\d\b(?! ?(?:px|pixels?|voxels?|cells|points))|"
    r"interval (?:change|growth)\b|(?:worsen|deteriorat)\w+|diabet\w+|hypertens\w+|cancer\w*|HIV\b|infect\w+|immun\w+|"
    r"dementia\b|neurofibromatosis\b|syndrome\b|comorbid\w*|disorder\b|(?<!other )(?<!any )(?<!the )disease\b|(?:tumou?r|serum|hormone|prolactin|cortisol|laboratory) "
    r"(?:marker|level)\w*|prolactin\b|blood (?:test|pressure|sugar)\w*|was (?:admitted|referred|operated)\b|operated\b"
)
_SYMPTOM_FORMS = (
    r"\w+(?:plegi[ac]|paresis|parese|phasi[ac]|opi[ac]|opsia|algia|dynia|esthesia|aesthesia|asthenia|a?emia|uria|pathy|pathies|itis|rrh(?:age|oea|ea)\w*|"
    r"arthria|taxia|praxia|gnosia|somnia|lalia|megaly|penia)\b"
)
_HEAD_OUTSIDE = r"(?<!other )(?<!at )(?:arms?|legs?|limbs?|(?<!left-)(?<!right-)hands?(?! (?:side|over|in hand))|foot|feet|faces?(?! value)|eyes?(?! of)|eyelids?|ears?|fingers?|toes?|shoulders?|knees?|mouth|tongue|lips|throat|chest|abdomen|skin|(?:side|half) of (?:the )?body)\b"
_ABILITIES = r"(?:hearing|sight|smell|taste|speech|gait|balance|walking|swallowing|sleep|appetite|mood|grip|reflex(?:es)?|sensation|muscle strength)"
BODY = rf"{_HEAD_OUTSIDE}|{_ABILITIES} (?:is|was|are|were|has|have|had|became|got|worsened|declined)\b"
THERAPY = (
    r"(?:lesions?|mass(?:es)?|tumou?rs?|gliomas?|meningiomas?|patients?|s?he|it|tissue) (?:should|must|ought to|needs to|has to|have to) (?:\w+ly )?(?:be )?(?:removed|excised|taken out|watched|monitored|imaged|seen by|told|followed|controlled|"
    r"cut|drained|return|come|stay|rest|avoid|stop|start|begin|undergo|receive|have|go|not drive)\b|"
    r"biops\w+|sampl(?:e|ing) (?:is|of (?:the )?(?:tissue|lesion|tumou?r)|should)|stereota\w+|surg(?:ery|eries|ical\w*|eons?)\b|neurosurg\w+|"
    r"resect\w*|excis\w+|exenterat\w+|debulk\w*|decompress\w+|shunt\w*|embolis\w+|emboliz\w+|ablat(?:ion|e)\b|radio(?:therap\w+|surg\w+)|"
    r"radiation\b|irradiat\w+|(?:gamma|cyber)[- ]?knife\b|proton (?:beam|therapy)\b|chemo\w*|steroids?\b|cortico\w+|dexameth\w+|"
    r"treat(?:ments?|ed|ing|able)\b|therap\w+|medicat\w+|medicine\b|drugs?\b|dos(?:e|es|age|ing)\b|\d+ ?mg\b|prescri\w+|"
    r"(?<!contrast )(?<!gadolinium )(?<!medium )(?<!agent )(?<!material )(?<!contrast was )(?<!gadolinium was )(?<!medium was )(?<!agent was )administ\w+(?! of (?:an? |the )?(?:\w+ )?(?:contrast|gadolinium))|anti\w+(?:nts?|tics?|ics?)\b|immunotherap\w+|follow[- ]?ups?\b|surveillance\b|re-?scan\w*|repeat(?:ed)? (?:scan|imag|MRI|exam)\w*|"
    r"referr?al\b|referred\b|consult\w*|multidisciplinary\b|tumou?r board\b|oncolog\w+|palliat\w+|prognos\w+|"
    r"surviv\w+|hospital\w*|admi(?:t|ssion)\w*|urgent\w*|emergency\b|management\b|"
    r"(?:is|are|was|were|be) (?:strongly |also |therefore |hereby )?(?:recommended|advis(?:ed|able)|indicated|warranted|mandatory|planned|scheduled)\b|"
    r"(?:recommend|advise)s?\b|consider(?:ed)? (?:for|a|an|further)\b|(?:would|could|may|might|can|should) be (?:an? )?(?:option|considered|offered|tried|"
    r"planned|given|useful|helpful|beneficial|started|performed|done|repeated|seen|discussed)\b|(?:would|could|may) be an option\b|next step\b|"
    r"(?:needs?|requires?)\b (?:to be )?(?:\w+ed|\w+ion|\w+ment|further|urgent)\b|"
    r"\w+(?:ectom(?:y|ies)|ostom(?:y|ies)|plasty|scopy(?<!microscopy)|zolomide|zumab|ximab|tinib|mustine|platin|azepam|azine|etam|"
    r"otomy|sone|solone|mab|statin|parin)\b"
)
SIGNS = (
    r"mass[- ]effect|(?:midline|ventric\w+|brain|tissue) shift|shift(?:s|ed|ing)?\b|displac\w+|deviat(?:ed|ion) of (?:the )?(?:midline|septum|brain)|(?:peritumou?ral |perilesional )?"
    r"o?edema\w*|oedematous\b|swell\w*|swollen\b|ha?emorrhag\w+|bleed\w*|blood\b|ha?ematoma\w*|clots?\b|necro\w+|calcif\w+|hydroceph\w+|"
    r"herniat\w+|cyst\w*|dural (?:tail|base)|restricted diffusion|infiltrat\w+|enhanc(?:es|ing|ement)\b|enhanced\b(?= (?:lesion|mass|rim|tumou?r))|"
    r"(?:hyper|hypo|iso)[- ]?(?:intens|dens|attenuat|vascular|cellular)\w*|(?:increased|raised|high|low|bright|dark|abnormal|reduced) (?:signal|intensity|uptake|density)|"
    r"signal (?:intensity|void|change|loss|abnormalit)\w*|flow voids?\b|invasi(?:on|ve)\b|invad\w+|compress\w*|effac\w+|vascular\w*|satellite\w*|"
    r"well[- ](?:circumscribed|defined|demarcated|delineated)|ill[- ]defined|circumscribed\b|(?:ir)?regular(?:ly)?(?: \w+)? (?:margin|border|outline|contour|shape|edge)\w*|"
    r"(?:margins?|borders?|contours?|edges?|outlines?) (?:is|are|appears?|look)\b|(?:is|was|are|were|looks?|appears?|seems?) (?:\w+ly )?(?:bright|dark|black|white|grey|dense|round|oval|solid|soft|firm|fuzzy|liquid|liquefied|fluid)\b|liquef\w+|(?:is|was|are|were|been) (?:\w+ )?(?:pushed|pressed|squeezed|bent|stretched|lifted|flattened)\b|(?:sharp|smooth|blurred|indistinct|irregular|spiculated|lobulated|clear) (?:\w+ )?(?:margin|border|"
    r"contour|edge|outline)\w*|lobulat\w+|spicul\w+|heterogen\w+|homogen\w+|inhomogen\w+|sept(?:a|ated|ations?)\b|atroph\w+|gliosis\b|"
    r"(?:sulc(?:us|i|al)|cistern\w*|gyral) (?:\w+ )?(?:effac\w*|widen\w*|enlarg\w*|patent|narrow\w*)|enlarg\w+|dilat\w+|widen\w*|thicken\w*|erosi\w+|eroded\b|"
    r"hyperostos\w+|encas\w+|engulf\w*|patent\b|patency\b|abut\w*|adher\w+|(?:broad|dural)[- ]based\b|extra-?axial\b|intra-?axial\b|"
    r"diffuse(?:ly)?\b|leptomeningeal\b|seed(?:ing|ed)\b|"
    r"(?:grow|cross|infiltrat|bulg|protrud|penetrat|extend)(?:s|es|ing|ed)? (?:across|along|into|through|to the other|over the midline)\b|cross(?:es|ing)? to\b|"
    r"bulg\w+|protru\w+|pseudocapsule\b|capsul\w+(?<!internal capsule)|(?:deform|distort)(?:s|ed|ing|ation)\b"
)
NORMALITY = (
    r"no (?:\w+ ){0,2}(?:tumou?r|lesion|mass|abnormalit(?:y|ies)|pathology|foc(?:us|i))\b|unremarkable\b|(?<!the )(?<!slice )(?<!plane )(?<!surface )(?<!section )normal(?:ly)?\b(?<!along its normal)(?<!along the normal)(?<!to its normal)(?! (?:of|to|direction|vector|axis))|healthy\b(?! (?:brains?|subjects?|volunteers?|people|anatomy|controls?)\b)|intact\b|preserved\b|spared\b|"
    r"free of (?:tumou?r|disease)|unaffected\b|uninvolved\b"
)
DIAGNOSES = (
    r"(?:glioblastoma\w*|gbm|mets|(?-i:HGG|LGG|DIPG|DMG|PCNSL|DNET|AVM|SFT|PitNET)s?|astrocytom\w+|oligodendrogliom\w+|ependymom\w+|medulloblastom\w+|metasta\w+|lymphom\w+|schwannom\w+|neurinom\w+|"
    r"(?:pituitary )?(?:macro|micro)?adenom\w+|prolactinom\w+|craniopharyngiom\w+|germinom\w+|abscess\w*|infarct\w*|strokes?|isch(?:a?emi|em)\w+|aneurysm\w*|"
    r"multiple sclerosis|demyelinat\w+|(?:low|high|intermediate)[- ]grades?|of (?:low|high) grade|(?:who )?grade[ds]?(?: [ivx1-4]+)?|grading|who [1-4ivx]+|cns who|"
    r"malignan\w+|benign\w*|aggressive\w*|anaplas\w+|atypical|neoplastic recurrence|carcinom\w+|sarcom\w+|melanom\w+|teratom\w+|dermoid|epidermoid|lipom\w+|"
    r"h(?:a|e)mangio\w+|cavernom\w+|hamartom\w+|granulom\w+|tubercul\w+|sarcoid\w+|vasculit\w+|encephalit\w+|meningit\w+|IDH\b[\w-]*|MGMT\b|1p/?19q|EGFR\b|"
    r"p53|ki-?67|wild-?type|mutat\w+|methylat\w+|molecular|histolog\w+|histopatholog\w+|patholog(?:y|ist|ic|ical)\w*|subtypes?|differentials?(?= (?:diagnos|also))|"
    r"\w{3,}(?<!gli)(?<!meningi)(?<!h[ae]mat)omas?|\w+(?:blastoma|cytoma)s?)\b"
)
COUNTS = (
    rf"(?:two|three|four|five|six|several|multiple|numerous|many|both|various|few|\d) (?:(?!and\b)\w+ ){{0,2}}?{_LESION}\b{_NO_KIND}|(?:second|third|another|additional|further|other|separate|"
    rf"more than one|(?:a )?(?:pair|couple|number|cluster) of|satellite|daughter|companion),? (?:\w+,? ){{0,2}}?{_LESION}\b{_NO_KIND}|(?:numerous|many|few) to count\b|(?:countless|innumerable|uncountable)\b|multi-?(?:focal|centric|nodular|ple lesions)\w*|"
    r"bifocal\b|(?:lesions|masses|tumou?rs|foci|nodules|deposits|abnormalities) (?:are|were|have)\b|disseminat\w+"
)
METHODS = (
    r"(?:layer|eigen|xgrad|ablation|full|hires)[- ]?(?:cam|grad)\b|lime\b(?= )|shap\b|shapley\w*|integrated gradients?\b|guided back\w+|smooth-?grad\b|occlusion\b|"
    r"layer-?wise relevance\b|lrp\b|deep-?lift\b|rise\b(?= (?:map|gave|agree))|attention rollout\b|transformers?\b|(?:nn)?-?u-?net\b|vit\b|mobile-?net\w*|"
    r"radiomic\w*|(?:features|descriptors) (?:were|was) (?:\w+ )?(?:extracted|computed)\b|tissue (?:diagnosis|proof|confirmation)\b|manual(?:ly)? (?:\w+ )?(?:outlin|segment|contour|delineat|annotat|drawn)\w*|alex-?net\b|conv-?next\b|swin\b|yolo\w*|svm\b|random forests?\b|ensembles?\b|majority vot\w+|(?:was|were|been) trained\b|trained (?:on|with|for)\b|imagenet\b|brats\b|tcia\b|cross[- ]validat\w+|"
    r"(?:accuracy|sensitivity|specificity|auc|f1)(?: score)? (?:of|is|was|reach\w+|=) (?:about |over )?\d|(?:two|three|independent|experienced|second|senior|expert|board[- ]certified)? ?(?:radiologists?|readers?|experts?|raters?|observers?|"
    r"physicians?|doctors?|clinicians?|colleagues?) (?:\w+ ){0,2}?(?:agree|confirm|concur|review|read|saw|validat|verif|check|mark|outlin|consent)\w*|"
    r"(?:confirmed|verified|validated|reviewed|checked|annotated|replicated|reproduced) (?:by|with|on|in)\b|(?<!be )read by\b|second (?:network|model|reader|method|opinion)\b|another (?:network|model|method)\b"
)
ADVICE_EXEMPT = re.compile(
    r"(?:should|must|needs? to|has to|have to)\b(?: \w+){0,2}? (?:be )?(?:\w+ )?(?:confirm|verif|check|review|regard|read|interpret|treat|taken|seen as|understood|view|used|correlat|considered (?:un|as|with))\w*|"
    r"\b(?:human|expert|independent|medical|professional|manual|radiological) (?:review|verification|confirmation|oversight|supervision|interpretation)\b|"
    r"\b(?:clinical|radiological|expert) correlation\b|"
    r"\brequires? (?:\w+ )?(?:confirmation|verification|review|correlation|interpretation)", re.I
)

# Kind of claim, its words, and what the report does wrong by them.
INVENTIONS: tuple[tuple[str, re.Pattern[str], str], ...] = tuple(
    (kind, re.compile(rf"\b(?:{pattern})", re.I), reason) for kind, pattern, reason in (
        ("patient", PATIENT, "the findings hold nothing on the patient"),
        ("class", DIAGNOSES, "no class of the findings"),
        ("patient", HISTORY, "the findings hold nothing on the patient"),
        ("patient", BODY, "the findings hold nothing on the patient"),
        ("patient", _SYMPTOM_FORMS, "the findings hold nothing on the patient"),
        ("negation", NORMALITY, "the findings do not state an absence"),
        ("observation", SIGNS, "a sign the findings do not hold"),
        ("count", COUNTS, "the findings do not count lesions"),
        ("advice", THERAPY, "the findings hold no advice"),
        ("method", METHODS, "the findings name no such method"),
    )
)


@lru_cache(maxsize=4096)
def inventions(text: str) -> tuple[tuple[str, tuple[int, int], str], ...]:
    """Kind, place and reason of the words of `INVENTIONS` in a sentence; words read as one kind are not read as the next."""
    found = []
    for kind, pattern, reason in INVENTIONS:
        spans = [match.span() for match in pattern.finditer(text)]
        for first, last in spans:
            text = text[:first] + "#" * (last - first) + text[last:]
        found += [(kind, span, reason) for span in spans]
    return tuple(found)
