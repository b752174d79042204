"""Report metrics: lexical diversity, coherence, readability, and truth to the findings.

Sources: TTR (Templin 1957); MTLD and HD-D (McCarthy & Jarvis 2010); Flesch Reading Ease (Flesch 1948);
Flesch-Kincaid grade (Kincaid et al. 1975).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd

from xai.findings import Findings
from xai.metrics.claims import Claim, sentences
from xai.metrics.facts import FactCheck, check_facts
from xai.metrics.syllables import syllables

__all__ = [
    "Claim", "FactCheck", "METRICS", "check_facts", "coherence", "evaluate_report", "evaluate_reports",
    "evaluate_writers", "fkgl", "flesch", "hdd", "mean_interval", "mtld", "shared_sentences", "shared_words", "ttr",
]

METRICS = (
    "mtld", "ttr", "hdd", "coherence", "flesch", "fkgl", "words", "fact_precision", "fact_recall", "unsupported",
    "laterality_errors", "numeric_errors",
)

_HEADING = re.compile(r"^\W*(?:technique|findings|impression|limitations)\W*(?::|$)", re.I | re.M)


def ttr(text: str) -> float:
    """Type-token ratio: different words / words, in (0, 1]; NaN without words. Falls with length."""
    lexicon = _lexicon(text)
    return float(lexicon.ttr) if lexicon.words else math.nan


def mtld(text: str, *, threshold: float = 0.72) -> float:
    """Measure of textual lexical diversity: mean length in words of runs that keep TTR above `threshold`.

    Mean of a forward and a backward pass (McCarthy & Jarvis 2010), by lexicalrichness; NaN without words.
    """
    lexicon = _lexicon(text)
    return float(lexicon.mtld(threshold=threshold)) if lexicon.words else math.nan


def hdd(text: str, *, draws: int = 42) -> float:
    """HD-D: expected type-token ratio of `draws` words drawn without replacement, in (0, 1].

    NaN for a text shorter than `draws` words (McCarthy & Jarvis 2010, by lexicalrichness).
    """
    lexicon = _lexicon(text)
    return float(lexicon.hdd(draws=draws)) if lexicon.words >= draws else math.nan


def coherence(text: str) -> float:
    """Mean cosine between the TF-IDF vectors of adjacent sentences, in [0, 1]; NaN below two sentences.

    Lexical, not semantic: it sees repeated words, not related ones. Headings of sections are left out.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    parts = [sentence.text for sentence in sentences(_HEADING.sub("", text)) if _words(sentence.text)]
    if len(parts) < 2:
        return math.nan
    # Rows have unit length, so the dot product is the cosine.
    vectors = TfidfVectorizer(token_pattern=r"[A-Za-z][A-Za-z'+-]*").fit_transform(parts)
    return float(np.mean(vectors[:-1].multiply(vectors[1:]).sum(axis=1)))


def flesch(text: str) -> float:
    """Flesch Reading Ease, ``206.835 - 1.015 words/sentences - 84.6 syllables/words``; higher is easier.

    A word holds a letter: bare numbers count neither as words nor as syllables. NaN without words.
    """
    count, per_sentence, per_word = _reading_rates(text)
    return 206.835 - 1.015 * per_sentence - 84.6 * per_word if count else math.nan


def fkgl(text: str) -> float:
    """Flesch-Kincaid grade, ``0.39 words/sentences + 11.8 syllables/words - 15.59``, in years of US school."""
    count, per_sentence, per_word = _reading_rates(text)
    return 0.39 * per_sentence + 11.8 * per_word - 15.59 if count else math.nan


def shared_words(text: str, other: str, *, length: int = 4) -> float:
    """Share of the runs of `length` words in `text` that stand in `other` too, in [0, 1]; numbers are words. NaN for a shorter text.

    Each run counts as often as `other` holds it: the clipped n-gram precision of BLEU (Papineni et al. 2002).
    """
    own, there = (Counter(zip(*(words[start:] for start in range(length)))) for words in map(_tokens, (text, other)))
    return (own & there).total() / own.total() if own else math.nan


def shared_sentences(text: str, other: str) -> float:
    """Share of the sentences of `text` that stand word by word in `other`, headings left out; NaN without sentences."""
    own, there = ([tuple(_tokens(part.text)) for part in sentences(_HEADING.sub("", part_of))] for part_of in (text, other))
    return sum(sentence in there for sentence in own) / len(own) if own else math.nan


def evaluate_report(text: str, findings: Findings) -> dict[str, float]:
    """All `METRICS` of one report."""
    facts = check_facts(text, findings)
    return {
        "mtld": mtld(text), "ttr": ttr(text), "hdd": hdd(text), "coherence": coherence(text),
        "flesch": flesch(text), "fkgl": fkgl(text), "words": len(_words(text)),
        "fact_precision": facts.precision, "fact_recall": facts.recall, "unsupported": facts.unsupported,
        "laterality_errors": facts.laterality_errors, "numeric_errors": facts.numeric_errors,
    }


def evaluate_reports(reports: pd.DataFrame, findings: Mapping[str, Findings]) -> pd.DataFrame:
    """One row per report: `id`, `writer` and `METRICS`.

    Parameters
    ----------
    reports : DataFrame
        Columns ``id``, ``writer``, ``text``.
    findings : mapping
        Identifier -> findings.

    Raises
    ------
    KeyError
        If a report's findings are not given.
    """
    rows = []
    for identifier, writer, text in reports[["id", "writer", "text"]].itertuples(index=False):
        if identifier not in findings:
            raise KeyError(f"report {identifier!r} by {writer!r} has no findings; pass the findings of every report.")
        rows.append({"id": identifier, "writer": writer, **evaluate_report(text, findings[identifier])})
    return pd.DataFrame(rows, columns=["id", "writer", *METRICS])


def evaluate_writers(
    reports: pd.DataFrame, findings: Mapping[str, Findings], *, draws: int = 2000, seed: int = 7
) -> pd.DataFrame:
    """Mean of each metric per writer with its 95 % percentile bootstrap interval over reports.

    Returns
    -------
    DataFrame
        One row per writer, in order of appearance: ``writer``, ``n``, then ``metric``, ``metric_low``,
        ``metric_high`` for each of `METRICS`. NaN values of a metric are left out of its mean.
    """
    frame = evaluate_reports(reports, findings)
    rows = []
    for writer, group in frame.groupby("writer", sort=False):
        row: dict[str, object] = {"writer": writer, "n": len(group)}
        for metric in METRICS:
            row |= dict(zip((metric, f"{metric}_low", f"{metric}_high"), mean_interval(group[metric], draws=draws, seed=seed)))
        rows.append(row)
    columns = ["writer", "n", *(f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high"))]
    return pd.DataFrame(rows, columns=columns)


def mean_interval(values: pd.Series, *, draws: int = 2000, seed: int = 7) -> tuple[float, float, float]:
    """Mean and its 95 % percentile bootstrap interval over values, NaN left out."""
    sample = values.dropna().to_numpy(float)
    if not sample.size:
        return math.nan, math.nan, math.nan
    generator = np.random.default_rng(seed)
    means = sample[generator.integers(sample.size, size=(draws, sample.size))].mean(axis=1)  # (draws,)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(sample.mean()), float(low), float(high)


def _words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z0-9]*[A-Za-z][A-Za-z0-9'’-]*", text)


def _tokens(text: str) -> list[str]:
    """Words and numbers in lower case."""
    return re.findall(r"[a-z0-9]+(?:[.'’+-][a-z0-9]+)*", text.lower())


def _reading_rates(text: str) -> tuple[int, float, float]:
    """Words, words per sentence, syllables per word."""
    parts = [_words(sentence.text) for sentence in sentences(_HEADING.sub("", text))]
    parts = [part for part in parts if part]
    words = [word for part in parts for word in part]
    if not words:
        return 0, math.nan, math.nan
    return len(words), len(words) / len(parts), sum(map(syllables, words)) / len(words)


def _lexicon(text: str):
    from lexicalrichness import LexicalRichness

    return LexicalRichness(text)
