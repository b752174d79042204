"""The benchmark of the fact checker: reports without errors are true, errors are where they are said to be, and the checker sees them."""

import numpy as np
import pytest
from test_findings import make_findings

from xai.metrics.facts import check_facts
from xai.planted import (
    ADAPTED_TO, HELD_OUT, INVENTED, KINDS, REPLACED, alter, clean_report, counterfactuals, detected, plant,
    run_benchmark,
)  # fmt: skip
from xai.planted.writing import in_words
from xai.reports import template_report

SETS = (*ADAPTED_TO, HELD_OUT)


@pytest.mark.parametrize("wording", SETS, ids=lambda wording: wording.name)
def test_an_error_stands_in_one_sentence_and_nowhere_else(wording):
    for number, kind in enumerate(KINDS):
        planted = plant(kind, number, wording, seed=1)
        first, last = planted.span
        before, after = planted.text[:first], planted.text[last:]
        assert planted.clean.startswith(before.rstrip(" *-\n•–")) and planted.clean.endswith(after.lstrip(" *-\n•–"))
        if kind in REPLACED:
            changed = planted.clean[slice(*planted.clean_span)]
            assert changed != planted.sentence and planted.clean == before + changed + after
        else:
            assert planted.sentence.rstrip(".").lower() not in planted.clean.lower()


def test_reports_are_repeatable_varied_and_not_the_templates():
    reports = [clean_report(number, HELD_OUT, seed=1) for number in range(40)]
    assert reports == [clean_report(number, HELD_OUT, seed=1) for number in range(40)]
    assert len({text for _, text in reports}) == 40
    for findings, text in reports:
        shared = set(text.split(". ")) & set(template_report(findings).split(". "))
        assert len(shared) <= 1, shared


def test_no_two_sets_share_a_sentence():
    for kind in INVENTED:
        sentences = [sentence for wording in SETS for sentence in set(wording.inventions[kind])]
        assert len(sentences) == len(set(sentences)), kind
    for topic in ("image", "method", "class", "others", "area", "regions"):
        sentences = [sentence for wording in SETS for sentence in set(wording.sentences.get(topic, ()))]
        assert len(sentences) == len(set(sentences)), topic


@pytest.mark.parametrize("wording", ADAPTED_TO, ids=lambda wording: wording.name)
def test_what_the_checker_was_adapted_to_stays_seen(wording):
    outcome = run_benchmark(wording, per_kind=1, clean=5, seed=3)
    assert [item.sentence for item in outcome.missed] == []
    assert [(sentence, claim.text) for sentence, claim in outcome.false] == []


def test_the_tables_count_what_was_planted():
    outcome = run_benchmark(HELD_OUT, per_kind=1, clean=4, seed=3)
    kinds = outcome.kinds.set_index("error")
    assert list(kinds.index) == [*KINDS, "all"] and len(KINDS) >= 10
    assert kinds.loc["all", "planted"] == len(KINDS) == kinds["planted"].iloc[:-1].sum()
    assert kinds.loc["all", "detected"] == len(KINDS) - len(outcome.missed)
    assert ((kinds["rate_low"] <= kinds["rate"]) & (kinds["rate"] <= kinds["rate_high"])).all()
    # Wilson's interval of one in one.
    assert kinds.loc["side", "rate_low"] == pytest.approx(1 / (1 + 1.959964**2), abs=1e-5)
    reports, claims = outcome.clean.to_dict("records")
    assert reports["count"] == 4 and claims["count"] > 40 and claims["marked"] == len(outcome.false)


def test_a_checker_that_sees_nothing_detects_nothing(monkeypatch):
    planted = plant("side", 0, HELD_OUT, seed=1)
    assert detected(planted)
    monkeypatch.setattr("xai.planted.benchmark.check_facts", lambda text, findings: check_facts("", findings))
    assert not detected(planted)


def test_an_alarm_that_the_true_sentence_raises_as_well_is_no_detection():
    planted = plant("plane", 0, HELD_OUT, seed=1)
    same = planted.__class__(planted.kind, planted.findings, planted.text, planted.span, planted.text, planted.span)
    assert detected(planted) and not detected(same)


@pytest.mark.parametrize("number, words", [(0, "zero"), (7, "seven"), (13, "thirteen"), (40, "forty"), (87, "eighty-seven"), (100, "one hundred")])
def test_numbers_in_words_are_read_back(number, words):
    assert in_words(number) == words
    findings = make_findings(mask={"area_percent": number, "area_pixels": 64 * number})
    claims = check_facts(f"The mask covers {words} per cent of the image.", findings).claims
    assert [claim.supported for claim in claims if claim.kind == "number"] == [True]
    other = make_findings(mask={"area_percent": (number + 3) % 100, "area_pixels": 64})
    assert check_facts(f"The mask covers {words} per cent of the image.", other).numeric_errors == 1


@pytest.mark.parametrize(
    "text, true",
    [("The through-plane standard deviation is 0.6 cm.", True), ("The through-plane standard deviation is 0.7 cm.", False),
     ("MNI: x = -34, y = 12, z = 46.", True), ("MNI: x = 34, y = 12, z = 46.", False), ("MNI centre -34/12/46 mm.", True),
     ("The matrix is 80x80 pixels.", True), ("The matrix is 96x96 pixels.", False), ("The lesion measures 3.2 x 2.1 cm.", False),
     ("Glioma (prob. 87 %) was found.", True), ("Glioma (prob. 78 %) was found.", False)],
)  # fmt: skip
def test_numbers_as_people_write_them(text, true):
    assert (check_facts(text, make_findings()).numeric_errors == 0) == true


@pytest.mark.parametrize(
    "text, wrong",
    [("Everything is fine.", 1), ("Trust the machine.", 1), ("1. Technique\nAn axial slice.", 0), ("Mass effect was not assessed.", 0),
     ("The position is only an estimate.", 0), ("The report was generated automatically.", 0), ("History: withheld.", 0)],
)  # fmt: skip
def test_a_sentence_that_no_finding_says_is_one_claim(text, wrong):
    found = check_facts(text, make_findings()).unsupported_claims
    assert len(found) == wrong and {claim.kind for claim in found} <= {"statement"}


@pytest.mark.parametrize("kind", [kind for kind in REPLACED if kind != "certainty of the place"])
def test_a_change_changes_the_findings(kind):
    findings = make_findings()
    other = next(filter(None, (alter(kind, findings, np.random.default_rng(seed)) for seed in range(50))))
    assert other != findings and other.id == findings.id


def test_the_template_follows_changed_findings_and_its_old_report_is_marked():
    table = counterfactuals(template_report, count=3)
    assert (table["report_changes"] == 3).all() and (table["old_report_marked"] == 3).all(), table
    # A writer that always says the same follows nothing.
    stubborn = counterfactuals(lambda findings: "The slice was analysed.", count=1)
    assert (stubborn["report_changes"] == 0).all()
