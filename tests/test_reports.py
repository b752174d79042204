"""Writers over a real loopback server and the real SDKs, the in-process model, the store, and safe display."""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from test_findings import EMPTY_MASK, NOWHERE, make_findings
from test_text_metrics import CASES

from xai.metrics.text import check_facts
from xai.paths import StudyError
from xai.reports import (
    WRITERS, RawStore, WriterFailed, WriterNotRun, WriterSettings, build_grammar, build_prompt, build_request,
    escape_text, highlight_claims, read_reports, supporting_findings, template_report, write_report, write_reports,
)
from xai.reports.grammar import literals, token_grammar

KEY = "sk-dummy-0123456789"
TEXT = "The axial slice is classified as glioma (87.0 %). Not for diagnosis."


@contextmanager
def chat_server(*replies, port=0, retry_after="0"):
    """A server that gives `replies` in turn, the last one forever: an HTTP status, "cut", "late" (nothing until the end), or a body.

    Yields its address and the list of requests it got.
    """
    requests, over = [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append(SimpleNamespace(path=self.path, headers=self.headers, body=json.loads(body)))
            reply = replies[min(len(requests), len(replies)) - 1]
            if reply == "late":
                over.wait(20)
                return
            if reply == "cut":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{\"cho")
                return
            status, text = (reply, json.dumps({"error": {"message": f"refused {KEY}"}})) if isinstance(reply, int) else (200, reply)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Retry-After", retry_after)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def completion(text=TEXT):
    return json.dumps({
        "id": "1", "object": "chat.completion", "created": 1, "model": "served-model",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 17, "total_tokens": 22},
    })


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for spec in WRITERS.values():
        if spec.key_variable:
            monkeypatch.delenv(spec.key_variable, raising=False)


def settings_for(address, **changes):
    return WriterSettings(base_url=address, max_retries=1, timeout_seconds=5, **changes)


def save_findings(folder, count):
    paths = []
    for number in range(count):
        paths.append(folder / f"slice-{number}.json")
        make_findings(id=f"slice-{number}", image_size=80 + number).save(paths[-1])
    return paths


# -- the prompt ---------------------------------------------------------------------------------------------------


def test_the_prompt_holds_the_findings_but_neither_name_nor_date():
    messages = build_prompt(make_findings())
    assert [message["role"] for message in messages] == ["system", "user"]
    facts = json.loads(messages[1]["content"].split("\n", 1)[1])
    assert facts["class"] == "glioma" and facts["class_probability_percent"]["glioma"] == 87.0
    assert facts["anatomy"]["localisation_certainty"] == "possible"
    assert facts["anatomy"]["regions"][1]["name"] == "inferior frontal gyrus, pars opercularis"
    other = make_findings(id="another", provenance={"study": "x", "created": "later", "xai_version": "9"})
    assert build_prompt(other) == messages


def test_every_writer_gets_the_same_prompt():
    findings = make_findings()
    prompts = [build_request(findings, writer)["messages"] for writer in WRITERS]
    assert all(prompt == prompts[0] for prompt in prompts)


def test_an_unknown_writer_is_one_sentence(tmp_path):
    with pytest.raises(StudyError, match="writer 'gpt' is unknown; choose one of template, smollm2"):
        write_report(make_findings(), "gpt", store=RawStore(tmp_path))


# -- services -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "writer, path, seed_field",
    [("llama", "/v1/openai/v1/chat/completions", "seed"), ("grok3", "/v1/chat/completions", "seed"),
     ("mistral", "/v1/chat/completions", "random_seed"), ("openai_compatible", "/v1/chat/completions", "seed")],
)
def test_a_service_is_asked_once_and_then_replayed(tmp_path, monkeypatch, writer, path, seed_field):
    findings, store = make_findings(), RawStore(tmp_path)
    monkeypatch.setenv(WRITERS[writer].key_variable, KEY)
    with chat_server(completion()) as (address, requests):
        settings = settings_for(address, model="some-model")
        report = write_report(findings, writer, settings=settings, store=store)
    assert [request.path for request in requests] == [path]
    assert requests[0].headers["Authorization"] == f"Bearer {KEY}"
    assert requests[0].body == {
        "model": "some-model", "messages": build_prompt(findings), "temperature": 0.0, "max_tokens": 500, seed_field: 7,
    }
    assert (report.text, report.tokens, report.prompt_tokens, report.model, report.id) == (TEXT, 17, 5, "served-model", findings.id)
    # The server is gone and so is the key: the answer comes from the store, the same to the last bit.
    monkeypatch.delenv(WRITERS[writer].key_variable)
    assert write_report(findings, writer, settings=settings, store=store) == report


@pytest.mark.parametrize("writer", ["llama", "grok3"])
@pytest.mark.parametrize(
    "replies, error, sentence, count",
    [
        ((500, completion()), None, None, 2),
        ((429, completion()), None, None, 2),
        (("cut", completion()), None, None, 2),
        ((500,), WriterFailed, "answered 500 after all retries", 2),
        (("cut",), WriterFailed, "connection failed or was cut", 2),
        ((401,), WriterNotRun, "was refused \\(401\\)", 1),
        ((403,), WriterNotRun, "may not use this model \\(403\\)", 1),
        ((404,), WriterNotRun, "model '.*' was not found", 1),
        ((400,), WriterFailed, "answered 400", 1),
        (('{"choices": []}',), WriterFailed, "holds no text", 1),
        (("<html>busy</html>",), WriterFailed, "no chat completion", 1),
    ],
)
def test_a_service_that_fails_is_one_sentence_and_no_needless_request(
    tmp_path, monkeypatch, writer, replies, error, sentence, count
):
    monkeypatch.setenv(WRITERS[writer].key_variable, KEY)
    store = RawStore(tmp_path)
    with chat_server(*replies) as (address, requests):
        if error is None:
            assert write_report(make_findings(), writer, settings=settings_for(address), store=store).text == TEXT
        else:
            with pytest.raises(error, match=sentence) as caught:
                write_report(make_findings(), writer, settings=settings_for(address), store=store)
            assert KEY not in str(caught.value) and "\n" not in str(caught.value)
            assert not list(tmp_path.rglob("*.json"))
    assert len(requests) == count


@pytest.mark.parametrize("writer", ["llama", "grok3"])
@pytest.mark.parametrize("replies, count", [(("late", completion()), 2), (("late",), 2)])
def test_a_server_that_does_not_answer_in_time_is_asked_once_more(tmp_path, monkeypatch, writer, replies, count):
    monkeypatch.setenv(WRITERS[writer].key_variable, KEY)
    store = RawStore(tmp_path)
    with chat_server(*replies) as (address, requests):
        settings = settings_for(address).model_copy(update={"timeout_seconds": 0.3})
        if len(replies) == 2:
            assert write_report(make_findings(), writer, settings=settings, store=store).text == TEXT
        else:
            with pytest.raises(WriterFailed, match="no answer within 0.3 s after all retries"):
                write_report(make_findings(), writer, settings=settings, store=store)
            assert not list(tmp_path.rglob("*.json"))
    assert len(requests) == count


@pytest.mark.parametrize("writer, sdk", [("llama", "groq"), ("grok3", "openai")])
def test_the_pause_a_busy_server_asks_for_is_kept(tmp_path, monkeypatch, writer, sdk):
    pauses = []
    monkeypatch.setattr(f"{sdk}._base_client.time.sleep", pauses.append)
    monkeypatch.setenv(WRITERS[writer].key_variable, KEY)
    with chat_server(429, completion(), retry_after="23") as (address, requests):
        write_report(make_findings(), writer, settings=settings_for(address), store=RawStore(tmp_path))
    assert len(requests) == 2 and 23 in pauses


@pytest.mark.parametrize("writer", ["llama", "grok3"])
@pytest.mark.parametrize(
    "body, sentence",
    [('{"choices": [null]}', "holds no text"), ('{"choices": [{"message": null}]}', "holds no text"), (completion("  "), "holds no text"),
     ("[1, 2]", "no chat completion|holds no text"), ('{"choices": "many"}', "no chat completion|holds no text"), ("", "no chat completion|holds no text"),
     ('"text"', "no chat completion|holds no text"), ('{"cho', "no chat completion")],
)  # fmt: skip
def test_an_answer_of_another_shape_is_one_sentence(tmp_path, monkeypatch, writer, body, sentence):
    monkeypatch.setenv(WRITERS[writer].key_variable, KEY)
    with chat_server(body) as (address, requests):
        with pytest.raises(WriterFailed, match=sentence) as caught:
            write_report(make_findings(), writer, settings=settings_for(address), store=RawStore(tmp_path))
    assert "\n" not in str(caught.value) and len(requests) == 1 and not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("writer", ["llama", "grok3"])
def test_a_huge_reply_fills_no_disk(tmp_path, monkeypatch, writer):
    monkeypatch.setenv(WRITERS[writer].key_variable, KEY)
    with chat_server(completion("word " * 1_000_000)) as (address, requests):
        report = write_report(make_findings(), writer, settings=settings_for(address), store=RawStore(tmp_path))
    assert len(requests) == 1 and 40_000 < len(report.text) <= 50_000
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.json")) < 200_000


def test_a_model_the_server_does_not_know_stops_the_writer_after_one_request(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_API_KEY", KEY)
    with chat_server(404) as (address, requests):
        status = write_reports(save_findings(tmp_path, 4), "grok3", settings=settings_for(address, model="grok-none"), output=tmp_path / "r" / "grok3.jsonl")
    assert status == "not run: writer grok3: model 'grok-none' was not found at its server (404); set another in the profile."
    assert len(requests) == 1


@pytest.mark.parametrize("writer", ["llama", "grok3", "mistral"])
def test_without_a_key_a_writer_is_not_run(tmp_path, writer):
    output = tmp_path / "reports" / f"{writer}.jsonl"
    status = write_reports(save_findings(tmp_path, 2), writer, output=output)
    assert status == f"not run: writer {writer} needs a key; set the environment variable {WRITERS[writer].key_variable}."
    assert output.read_text() == ""


def test_a_compatible_server_needs_an_address(tmp_path):
    with pytest.raises(WriterNotRun, match="set base_url and model"):
        write_report(make_findings(), "openai_compatible", store=RawStore(tmp_path))


def test_a_run_resumes_where_it_was_cut_and_repeats_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_API_KEY", KEY)
    files, output = save_findings(tmp_path, 4), tmp_path / "reports" / "grok3.jsonl"
    with chat_server(completion(), completion(), 401) as (address, requests):
        settings = settings_for(address)
        status = write_reports(files, "grok3", settings=settings, output=output)
        assert status.startswith("incomplete: 2 of 4 reports written; writer grok3: the key in XAI_API_KEY was refused")
        assert [report.id for report in read_reports(output)] == ["slice-0", "slice-1"]
    with output.open("a") as file:
        file.write('{"id": "slice-2", "wri')  # what a kill in the middle of a line leaves
    port = int(re.search(r":(\d+)/", address).group(1))
    with chat_server(completion("Second run."), port=port) as (_, requests):
        assert write_reports(files, "grok3", settings=settings, output=output) == "complete"
        assert write_reports(files, "grok3", settings=settings, output=output) == "complete"
        assert len(requests) == 2
        reports = read_reports(output)
        assert [report.id for report in reports] == [f"slice-{number}" for number in range(4)]
        assert [report.text for report in reports] == [TEXT, TEXT, "Second run.", "Second run."]
        # Other settings are another request: all are asked anew and the old lines go.
        assert write_reports(files, "grok3", settings=settings.model_copy(update={"seed": 8}), output=output) == "complete"
        assert len(requests) == 6 and len(read_reports(output)) == 4


def test_one_unusable_answer_does_not_stop_the_rest_but_a_dead_server_does(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_API_KEY", KEY)
    files = save_findings(tmp_path, 5)
    with chat_server(completion(), '{"choices": []}', completion()) as (address, requests):
        status = write_reports(files, "grok3", settings=settings_for(address), output=tmp_path / "a" / "grok3.jsonl")
        assert status.startswith("incomplete: 4 of 5") and len(requests) == 5
    with chat_server(500) as (address, requests):
        settings = WriterSettings(base_url=address, max_retries=0)
        status = write_reports(files, "grok3", settings=settings, output=tmp_path / "b" / "grok3.jsonl")
        assert status.startswith("incomplete: 0 of 5") and len(requests) == 3


def test_the_key_is_in_no_file_even_if_the_server_echoes_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_API_KEY", KEY)
    with chat_server(completion(f"Your key is {KEY}."), 500) as (address, _):
        output = tmp_path / "reports" / "grok3.jsonl"
        status = write_reports(save_findings(tmp_path, 2), "grok3", settings=settings_for(address), output=output)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 4 and all(KEY not in path.read_text() for path in written)
    assert KEY not in status
    assert read_reports(output)[0].text == "Your key is [key removed]."


# -- writers without a network ------------------------------------------------------------------------------------


def test_the_template_is_the_template(tmp_path):
    findings = make_findings()
    report = write_report(findings, "template", store=RawStore(tmp_path))
    assert (report.text, report.model, report.tokens) == (template_report(findings), "template", 0)


def test_smollm2_writes_its_own_words_and_only_true_ones(tmp_path):
    findings = make_findings(**CASES["likely"])
    report = write_report(findings, "smollm2", store=RawStore(tmp_path / "a"))
    check = check_facts(report.text, findings)
    assert (check.precision, check.recall) == (1.0, 1.0)
    shared = set(report.text.split(". ")) & set(template_report(findings).split(". "))
    assert len(shared) <= 3
    # The same seed gives the same words, with the model's cache in another state.
    again = write_report(findings, "smollm2", store=RawStore(tmp_path / "b"))
    assert again.text == report.text and again.prompt_sha256 == report.prompt_sha256


def _sentences_of(grammar):
    """Whole sentences: what opens the list of regions is joined with the lists that may follow."""
    parts = [json.loads(text) for text in literals(grammar) if text.startswith('" ')]
    lists = [text for text in parts if text.startswith(" the ")]
    openers = [text for text in parts if not text.endswith(".")]
    return [text for text in parts if text not in openers and text not in lists] + [a + b for a in openers for b in lists]


@pytest.mark.parametrize("case", [*CASES, "empty and nowhere"])
def test_every_sentence_the_grammar_offers_is_true(case):
    findings = make_findings(**CASES.get(case, {"mask": EMPTY_MASK, "anatomy": NOWHERE}))
    for sentence in _sentences_of(build_grammar(findings)):
        assert check_facts(sentence, findings).unsupported_claims == (), sentence


def test_other_findings_leave_no_old_value_in_the_grammar():
    before = build_grammar(make_findings())
    after = build_grammar(make_findings(
        plane="coronal", model="vgg16", cam_method="scorecam", anatomy=NOWHERE,
        prediction={"label": "pituitary", "probabilities": {"glioma": 0.2, "meningioma": 0.3, "pituitary": 0.5}},
        mask={"area_percent": 7.7, "area_pixels": 493},
    ))
    for value in ("axial", "InceptionResNetV2", "Grad-CAM++", "87.0", "9.9 %", "4.2 %", "left", "frontal", "(-34, 12, 46)"):
        assert value in before and value not in after
    for value in ("coronal", "VGG16", "Score-CAM", "50.0 %", "30.0 %", "7.7 %", "not determinable"):
        assert value in after


def test_a_token_grammar_keeps_the_structure_and_replaces_every_string():
    grammar = 'root ::= a "x\\"y" ("\\U0000000A" | b)\na ::= "\\U000000E9"\nb ::= "q"\n'
    found = token_grammar(grammar, lambda text: [ord(letter) for letter in text])
    assert found == "root ::= a <[120]> <[34]> <[121]> (<[10]> | b)\na ::= <[233]>\nb ::= <[113]>\n"


# -- display ------------------------------------------------------------------------------------------------------

HOSTILE = "<script>alert(1)</script> **bold** [link](javascript:alert(1)) `code` $x$ {eval}`y` <img src=x onerror=alert(2)> &amp;"


@given(st.text() | st.just(HOSTILE))
def test_escaped_text_shows_as_typed_and_does_nothing(text):
    escaped = escape_text(text)
    visible = "".join(c for c in text if c in "\n\t" or (c.isprintable() or c.isspace()))
    soup = BeautifulSoup(f"<p>{escaped}</p>", "html.parser")
    assert [tag.name for tag in soup.find_all(True)] == ["p"]
    assert re.sub(r"\s", "", soup.text) == re.sub(r"\s", "", escape_free(visible))
    rendered = BeautifulSoup(MarkdownIt().render("x" + escaped.replace("\n", " ").replace("\t", " ")), "html.parser")
    assert {tag.name for tag in rendered.find_all(True)} <= {"p"}


def escape_free(text):
    import unicodedata

    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn"))


def test_claims_are_marked_and_the_text_stays_whole():
    findings = make_findings()
    text = f"Glioma in the right hemisphere (87.0 %). {re.sub('[0-9]', 'x', HOSTILE)}"
    soup = BeautifulSoup(highlight_claims(text, check_facts(text, findings)), "html.parser")
    assert [(mark["class"], mark.text) for mark in soup.find_all("mark")] == [
        (["claim-supported"], "Glioma"), (["claim-unsupported"], "right"), (["claim-supported"], "87.0 %"),
        (["claim-unsupported"], re.sub("[0-9]", "x", HOSTILE)),  # a sentence that no finding says
    ]
    assert soup.find_all("mark")[1]["title"] == "side: the findings say left"
    assert soup.find_all("mark")[0]["title"] == "prediction.label"
    assert {tag.name for tag in soup.find_all(True)} == {"div", "mark", "sup"}
    linked = BeautifulSoup(highlight_claims(text, check_facts(text, findings), anchor="a b"), "html.parser")
    assert [(link.text, link["href"]) for link in linked.find_all("a")] == [
        ("Glioma", "#a-b-prediction-label"), ("87.0 %", "#a-b-prediction-probabilities-glioma"),
    ]
    table = BeautifulSoup(supporting_findings(check_facts(text, findings), findings, anchor="a b"), "html.parser")
    assert [(row["id"], *[cell.text for cell in row.find_all("td")]) for row in table.find("tbody").find_all("tr")] == [
        ("a-b-prediction-label", "prediction.label", "glioma"),
        ("a-b-prediction-probabilities-glioma", "prediction.probabilities.glioma", "0.8702"),
    ]
    for sign in soup.find_all("sup"):
        sign.extract()
    assert soup.text == text
