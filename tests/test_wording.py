"""The checker's reading of what sentences do: disclaim or deny, hedge or insist, speak of the work or of the brain. Pairs that differ in that alone."""

import pytest
from test_findings import make_findings

from xai.metrics import text as metrics
from xai.metrics.facts import check_facts
from xai.reports import WRITERS, build_request


def wrong(text: str, **changes) -> set[str]:
    return {claim.kind for claim in check_facts(text, make_findings(**changes)).unsupported_claims}


@pytest.mark.parametrize(
    "disclaimer, denial",
    [("The software cannot detect oedema.", "The software found no oedema."),
     ("The model is unaware of the patient's history.", "The patient has no history of seizures."),
     ("Signal intensity was not measured.", "The signal intensity is not raised."),
     ("The ventricles were not assessed.", "The ventricles are not compressed."),
     ("No clinical history came with the slice.", "There is no haemorrhage."),
     ("Follow-up is for the treating physician to decide.", "Follow-up is not needed."),
     ("Treatment is outside the remit of this software.", "No treatment is needed."),
     ("Grading would need tissue.", "The grade is low."),
     ("The network knows three classes only; any other disease is forced into one of them.", "The patient has a disease."),
     ("The heatmap explains the network, not the disease.", "The disease is not active."),
     ("Further lesions in other slices cannot be excluded.", "Further lesions cannot be excluded."),
     ("Place names come from an atlas of healthy brains.", "The other half is healthy.")],
)  # fmt: skip
def test_what_is_not_known_is_no_denial(disclaimer, denial):
    assert wrong(disclaimer) == set()
    assert wrong(denial)


@pytest.mark.parametrize(
    "modest, strong",
    [("The glioma probability is 87.0 %, with a certainty of 87.0 % at best.", "A glioma is a certainty."),
     ("Nobody can say where exactly it lies.", "Nobody could doubt that this is a glioma."),
     ("Errors cannot be excluded.", "An error can be excluded."),
     ("The depth of the slice can only be estimated.", "It can only be a glioma."),
     ("The class glioma is not certain.", "It is certain that this is a glioma."),
     ("The network favours glioma (87.0 %).", "Everyone would call this a glioma."),
     ("It is perhaps a glioma.", "It is a glioma."),
     ("The glioma is on the left side.", "The case for a glioma is closed."),
     ("With low certainty, the left middle frontal gyrus.", "With certainty, the left middle frontal gyrus."),
     ("The result has not been confirmed.", "The result has been confirmed.")],
)  # fmt: skip
def test_words_are_strong_by_what_they_deny(modest, strong):
    assert wrong(modest) == set()
    assert wrong(strong) & {"certainty", "statement"}


@pytest.mark.parametrize(
    "about_the_work, about_the_patient",
    [("Place names are to be read with care.", "The images were read by an expert."),
     ("A radiologist should read the full examination.", "A surgeon should see the patient."),
     ("The region must be checked on the full scan.", "The tumour must be removed."),
     ("Take the place with a pinch of salt.", "Take it out."),
     ("On the other hand, the place is uncertain.", "The left hand has become weak."),
     ("The mask has a size of 2046 pixels.", "The patient was operated on in 2015."),
     ("The network may be right for the wrong reasons.", "The arm on the left is weak.")],
)  # fmt: skip
def test_what_is_asked_of_the_report_is_not_asked_of_the_patient(about_the_work, about_the_patient):
    assert wrong(about_the_work, mask={"area_percent": 4.2, "area_pixels": 2046}) == set()
    assert wrong(about_the_patient)


@pytest.mark.parametrize(
    "text, errors",
    [("The other candidates, meningioma and pituitary tumour, reach 9.9 % and 3.1 %.", 0),
     ("The other candidates, meningioma and pituitary tumour, reach 3.1 % and 9.9 %.", 2),
     ("Lesser probabilities: 9.9 % (meningioma), 3.1 % (a pituitary tumour).", 0),
     ("Lesser probabilities: 3.1 % (meningioma), 9.9 % (a pituitary tumour).", 2)],
)  # fmt: skip
def test_numbers_belong_to_names_by_their_order(text, errors):
    assert check_facts(text, make_findings()).numeric_errors == errors


def test_the_right_one_is_a_side_and_the_right_class_is_none():
    assert wrong("The hemisphere is the right one.") == {"side"} and wrong("The hemisphere is the left one.") == set()
    assert wrong("The network need not give the right class.") == set()


def test_overlap_of_two_texts():
    assert metrics.shared_words("one two three four five", "zero one two three four") == 0.5  # of two runs of four, one
    assert metrics.shared_words("a b c d a b c d", "a b c d") == pytest.approx(1 / 5)  # each run once, as the other text holds it
    assert metrics.shared_sentences("Findings: It is 4.2 % of it. It is big.", "It is big. It is 4.3 % of it.") == 0.5
    assert metrics.shared_words("too short", "too short") != metrics.shared_words("too short", "too short")  # NaN


def test_the_free_model_gets_the_same_prompt_and_no_grammar():
    held, free = (build_request(make_findings(), writer) for writer in ("smollm2", "smollm2_free"))
    assert "grammar" in held and "grammar" not in free
    assert held["messages"] == free["messages"] and held["model"] == free["model"] and WRITERS["smollm2_free"].sdk is None
