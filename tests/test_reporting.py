"""Chapter 6: the same balanced findings for every writer, and nothing shown that a writer did not write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import one_sentence, prepare_small
from test_findings import make_findings
from test_reports import KEY, chat_server, completion

from xai import evaluation, reporting
from xai.bookchapters import refuse_unsafe
from xai.paths import LABELS, Study, StudyError
from xai.profiles import Profile, save_profile
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


def test_every_link_of_a_report_page_leads_to_a_finding_of_the_same_report(study):
    run = reporting.report_study(study, _profile(3), "template")
    page = reporting.reports_as_html(study, run, count=3)
    refuse_unsafe(page, "page")
    soup = BeautifulSoup(page, "html.parser")
    places = [row["id"] for row in soup.find_all("tr", id=True)]
    assert len(places) == len(set(places))
    for section in soup.find_all("section", class_="report"):
        own = {row["id"] for row in section.find_all("tr", id=True)}
        links = [link["href"].removeprefix("#") for link in section.find_all("a")]
        assert len(links) > 10 and set(links) == own
        assert [part.summary.text for part in section.find_all("details")] == ["Findings behind the claims", "All findings (JSON)", "Prompt"]


def test_the_fact_table_counts_claims(study):
    run = reporting.report_study(study, _profile(3), "template")
    wrong = run.reports[0].model_copy(update={"text": "The slice shows a glioma."})
    table = reporting.fact_table(study, reporting.WriterRun("template", "complete", [wrong, run.reports[1]]))
    assert table["report"].tolist() == ["s0000", "s0006"]
    assert table.loc[0, ["claims", "fact precision", "unsupported", "first unsupported claim"]].tolist() == [1, 0, 1, "glioma"]
    assert table.loc[1, ["fact precision", "unsupported", "first unsupported claim"]].tolist() == [1, 0, "none"]
    assert isinstance(table, pd.DataFrame) and table["seconds"].tolist() == [wrong.seconds, run.reports[1].seconds]


def test_tokens_and_cost_are_tallied_by_writer_and_no_price_is_made_up(study):
    with chat_server(completion("A served report.")) as (address, _):
        served = {"base_url": address, "model": "mine"}
        profile = _profile(3, writers=["template", "grok3", "openai_compatible"], settings={"openai_compatible": served})
        for writer in profile.reports.writers:
            reporting.report_study(study, profile, writer)
    table = evaluation.tally(study, profile).set_index("writer")
    # The server counts 5 tokens read and 17 written for each of three reports.
    assert table.loc["openai_compatible", ["n", "tokens read", "tokens written", "cost"]].tolist() == [3, 15, 51, "unknown"]
    assert table.loc["template", ["n", "tokens read", "tokens written", "cost"]].tolist() == [3, 0, 0, "none"]
    assert table.loc["grok3", ["n", "tokens read", "cost"]].tolist() == [0, 0, "not run"]
    priced = _profile(3, writers=profile.reports.writers, settings={"openai_compatible": served | {"input_price": 2000.0, "output_price": 10000.0}})
    assert evaluation.tally(study, priced).set_index("writer").loc["openai_compatible", "cost"] == "0.5400"  # (15 x 2000 + 51 x 10000) / 1e6
    half = _profile(3, writers=profile.reports.writers, settings={"openai_compatible": served | {"input_price": 2.0}})
    assert evaluation.tally(study, half).set_index("writer").loc["openai_compatible", "cost"] == "unknown"
    with pytest.raises(ValueError, match="input_price"):
        _profile(3, settings={"grok3": {"input_price": -1}})


def test_after_the_chapter_ran_with_a_key_it_is_in_no_file(study):
    """The real chapter in a kernel of its own; the server repeats the key in its reports and in its refusals."""
    repository = Path(__file__).parents[1]
    with chat_server(completion(f"Your key is {KEY}."), 500) as (address, requests):
        # No pause between retries would be shorter than what the server asks for, and it asks for none.
        save_profile(_profile(2, settings={"grok3": {"base_url": address}}), study.profile)
        target, log = study.notebook("06_reports_grok3"), study.root / "logs" / "06_reports_grok3.log"
        log.parent.mkdir(parents=True)
        command = [sys.executable, "-m", "xai.chapter", "notebooks/06_reports.md", str(target), "-p", "study", str(study.root), "-p", "writer", "grok3"]
        environment = os.environ | {"XAI_API_KEY": KEY, "PYTHONPATH": str(repository)}
        with log.open("wb") as file:
            subprocess.run(command, cwd=repository, env=environment, stdout=file, stderr=subprocess.STDOUT, check=True)
    assert requests and all(request.headers["Authorization"] == f"Bearer {KEY}" for request in requests)
    files = [path for path in study.root.rglob("*") if path.is_file()]
    assert {target, log, study.reports("grok3"), study.reports("grok3").with_suffix(".status")} <= set(files)
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    assert "[key removed]" in target.read_text() and "incomplete: 1 of 2" in target.read_text()
