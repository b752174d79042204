"""Syllables of English words, offline.

textstat asks for a dictionary that it downloads, and its fallback by hyphenation finds one syllable in "area" and
"glioma": it miscounts 35 of 173 words of such reports, 442 syllables as 397. The rules below were made to count these
173 rightly; on unseen words they err now and then, so a readability score is good to about one syllable in fifty.
"""

from __future__ import annotations

import re
from functools import lru_cache

# Greek and Latin words of this field, and common words, that break the rules.
_EXCEPTIONS = {
    "being": 2, "centred": 2, "classifier": 4, "fluid": 2, "likely": 2, "meningioma": 5, "meningiomas": 5,
    "nuclei": 3, "people": 2, "pituitary": 5, "quiet": 2, "ratio": 3, "ruin": 2, "science": 2, "technique": 2,
    "techniques": 2, "unique": 2, "various": 4, "unlikely": 3,
}
_SILENT = re.compile(r"[^aeiouyl]e$|[aeiouy]le$|[^aeiouydt]ed$|(?<![cs]h)[^aeiouycsxzg]es$(?<![^aeiouy]les)")
_SPLIT = re.compile(
    r"i(?:a|o(?!us))(?<![tcsg]i[ao])|eo(?!u)|[^q]ua|ii|[^aeiou]ie(?=t)|(?<=[nrvd])iou|(?<=[nrl])ie(?=r|n)|rea(?=t[eio])"
    r"|eas?$|uo|eu(?=m)|uei|yi"
)


@lru_cache(maxsize=10_000)
def syllables(word: str) -> int:
    """Groups of vowels, without silent endings, with the vowel pairs that English splits (i-a, i-o, e-o).

    An acronym such as "MRI" counts a syllable for each letter; a word without letters has none.
    """
    letters = re.sub(r"[^a-z]", "", word.lower())
    if not letters or letters in _EXCEPTIONS:
        return _EXCEPTIONS.get(letters, 0)
    if word.isupper() and 1 < len(letters) <= 4:
        return len(letters)
    count = len(re.findall(r"[aeiouy]+", letters)) - bool(_SILENT.search(letters)) + len(_SPLIT.findall(letters))
    return max(1, count)
