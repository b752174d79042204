"""Chapter 6: the same balanced findings for every writer, and nothing shown that a writer did not write."""

from __future__ import annotations

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import one_sentence, prepare_small
from test_findings import make_findings
from test_reports import chat_server, completion

from xai import reporting
from xai.paths import LABELS, Study, StudyError
from xai.profiles import Profile
from xai.reports import read_reports, template_report

SERIES = {"pituitary-1": 5, "glioma-1": 2, "meningioma-1": 3, "glioma-2": 2}
KEYS = ("GROQ_API_KEY", "XAI_API_KEY", "MISTRAL_API_KEY", "OPENAI_API_KEY")


def _profile(findings: int = 3, **reports) -> Profile:
    return Profile(reports={"findings": findings, **reports})


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    """Twelve slices, findings for all but the first glioma; no key anywhere."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    study = prepare_small(tmp_path / "mine", SERIES, lambda index: ["test"] * len(index))
    labels = [patient.split("-")[0] for patient, count in SERIES.items() for _ in range(count)]
    for number, label in enumerate(labels):
        if number != 5:
            probabilities = {name: 0.9 if name == label else 0.05 for name in LABELS}
            make_findings(id=f"s{number:04d}", prediction={"label": label, "probabilities": probabilities}).save(study.findings(f"s{number:04d}"))
    return study


# Slices 0-4 pituitary, 5-6 and 10-11 glioma, 7-9 meningioma; 5 has no findings.
@pytest.mark.parametrize(
    ("count", "numbers"),
    [
        (1, [6]),
        (2, [6, 7]),
        (3, [0, 6, 7]),
        (5, [0, 6, 7, 8, 10]),
        (10, [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]),
        (99, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]),
    ],
)
def test_reported_findings_are_balanced_over_the_true_classes(study, count, numbers):
    files = reporting.reported_findings(study, _profile(count))
    assert files == [study.findings(f"s{number:04d}") for number in numbers]


def test_no_findings_names_the_chapter(study):
    for path in study.findings("x").parent.iterdir():
        path.unlink()
    with pytest.raises(StudyError, match="chapter 05_atlas writes them"):
        reporting.reported_findings(study, _profile())
    make_findings(id="of-another-dataset").save(study.findings("of-another-dataset"))
    with pytest.raises(StudyError) as raised:
        reporting.reported_findings(study, _profile())
    assert "belongs to this dataset" in one_sentence(str(raised.value))


def test_a_writer_writes_all_and_says_so(study):
    run = reporting.report_study(study, _profile(3), "template")
    assert run.status == "complete" and study.reports("template").with_suffix(".status").read_text() == "complete\n"
    assert [report.id for report in run.reports] == ["s0000", "s0006", "s0007"] and run.reports == read_reports(study.reports("template"))
    for report, label in zip(run.reports, ("pituitary", "glioma", "meningioma")):
        findings = make_findings(id=report.id, prediction={"label": label, "probabilities": {name: 0.9 if name == label else 0.05 for name in LABELS}})
        assert report.text == template_report(findings) and label in report.text
    # Called again it keeps what is there, to the byte.
    before = study.reports("template").read_bytes()
    assert reporting.report_study(study, _profile(3), "template").reports == run.reports
    assert study.reports("template").read_bytes() == before


@pytest.mark.parametrize(("writer", "variable"), [("llama", "GROQ_API_KEY"), ("grok3", "XAI_API_KEY"), ("mistral", "MISTRAL_API_KEY")])
def test_a_writer_without_its_key_is_not_run_and_shows_no_text(study, writer, variable):
    reporting.report_study(study, _profile(3), "template")
    run = reporting.report_study(study, _profile(3), writer)
    assert run.status == f"not run: writer {writer} needs a key; set the environment variable {variable}."
    assert run.reports == [] and study.reports(writer).read_bytes() == b""
    assert study.reports(writer).with_suffix(".status").read_text().strip() == run.status
    soup = BeautifulSoup(reporting.reports_as_html(study, run, count=3), "html.parser")
    assert soup.get_text() == run.status and soup.find(class_="not-run") and not soup.find(class_="report")
    assert reporting.fact_table(study, run).to_dict("records") == [{"report": run.status}]
    assert not list((study.reports(writer).parent / "raw").glob(f"{writer}/*"))


def test_settings_come_from_the_profile_and_a_chapter_may_override_them(study):
    assert reporting.report_study(study, _profile(1), "openai_compatible").status.startswith("not run: ")
    with chat_server(completion("A served report.")) as (address, requests):
        profile = _profile(2, settings={"openai_compatible": {"base_url": address, "model": "mine"}}, temperature=0.3, max_tokens=77)
        run = reporting.report_study(study, profile, "openai_compatible")
        assert run.status == "complete" and [report.text for report in run.reports] == ["A served report."] * 2
        reporting.report_study(study, profile, "openai_compatible", model="another")
    assert [request.body["model"] for request in requests] == ["mine"] * 2 + ["another"] * 2
    for request in requests:
        assert (request.body["temperature"], request.body["max_tokens"], request.body["seed"]) == (0.3, 77, profile.seed)


def test_a_server_that_fails_in_between_is_incomplete_and_goes_on_later(study):
    with chat_server(completion("First."), "{}", completion("Last.")) as (address, _):
        profile = _profile(3, settings={"openai_compatible": {"base_url": address, "model": "mine"}})
        run = reporting.report_study(study, profile, "openai_compatible")
        assert run.status.startswith("incomplete: 2 of 3 reports written; ")
        assert study.reports("openai_compatible").with_suffix(".status").read_text().strip() == run.status
        assert {report.id: report.text for report in run.reports} == {"s0000": "First.", "s0007": "Last."}
        run = reporting.report_study(study, profile, "openai_compatible")
    assert run.status == "complete" and [report.text for report in run.reports] == ["First.", "Last.", "Last."]


def test_reports_are_shown_escaped_with_their_claims_marked(study):
    run = reporting.report_study(study, _profile(3), "template")
    bad = run.reports[0].model_copy(update={"text": "<script>alert(1)</script> A glioma in the right hemisphere.", "model": "<b>m</b>"})
    html = reporting.reports_as_html(study, reporting.WriterRun("template", "complete", [bad, *run.reports[1:]]), count=2)
    soup = BeautifulSoup(html, "html.parser")
    assert len(soup.find_all("section", class_="report")) == 2, "the first `count` only"
    assert soup.find("script") is None and soup.find("b") is None
    first, second = soup.find_all("section", class_="report")
    text = first.get_text().replace("\N{BALLOT X}", "")  # the sign behind an unsupported claim
    assert "<script>alert(1)</script> A glioma in the right hemisphere." in text and "model <b>m</b>" in text
    assert {mark.get_text() for mark in first.find_all("mark", class_="claim-unsupported")} >= {"glioma", "right"}
    assert second.find("mark", class_="claim-supported") and not second.find("mark", class_="claim-unsupported")
    assert run.reports[1].text.split("\n")[0] in second.get_text()


def test_the_fact_table_counts_claims(study):
    run = reporting.report_study(study, _profile(3), "template")
    wrong = run.reports[0].model_copy(update={"text": "The slice shows a glioma."})
    table = reporting.fact_table(study, reporting.WriterRun("template", "complete", [wrong, run.reports[1]]))
    assert table["report"].tolist() == ["s0000", "s0006"]
    assert table.loc[0, ["claims", "fact precision", "unsupported", "first unsupported claim"]].tolist() == [1, 0, 1, "glioma"]
    assert table.loc[1, ["fact precision", "unsupported", "first unsupported claim"]].tolist() == [1, 0, "none"]
    assert isinstance(table, pd.DataFrame) and table["seconds"].tolist() == [wrong.seconds, run.reports[1].seconds]
