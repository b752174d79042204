"""Downloads from a real server that cuts, forgets, lies and recovers."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from conftest import one_sentence
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xai.data.download import download
from xai.paths import StudyError

CONTENT = np.random.default_rng(0).bytes(700_001)
OTHER = np.random.default_rng(1).bytes(700_001)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


class Server(ThreadingHTTPServer):
    """Serves `files`; `cuts` and `statuses` are used up, one per request, None for an answer as it should be."""

    daemon_threads = True

    def __init__(self, **files: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {name.replace("_", "."): content for name, content in files.items()}
        self.cuts: list[int | None] = []
        self.statuses: list[int | None] = []
        self.ranges, self.etags = True, True
        self.asked: list[tuple[str, str | None]] = []  # path and Range of every request
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_request) -> None:
        """A client that went away is no news."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.asked.append((self.path, asked))
        # Bytes of a compressed answer could not be counted on to continue it.
        assert self.headers.get("Accept-Encoding") == "identity"
        status = server.statuses.pop(0) if server.statuses else None
        cut = server.cuts.pop(0) if server.cuts else None
        content = server.files.get(self.path.lstrip("/"))
        if status is not None or content is None:
            self.send_error(status or 404)
            return
        etag = f'"{sha256(content)[:8]}"'
        if asked and server.ranges and self.headers.get("If-Range", etag) == etag:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            start = 0
            self.send_response(200)
        if server.etags:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:] if cut is None else content[start : start + cut])

    def log_message(self, *_arguments) -> None:
        """The tests' output is theirs."""


@pytest.fixture
def server():
    with Server(a_bin=CONTENT) as running:
        yield running
        running.shutdown()


def _get(server, folder, checksum=sha256(CONTENT), **options):
    return download({"a.bin": checksum}, server.url, folder, **{"pause_seconds": 0.01, **options})


def _fails(server, folder, *parts: str, **options) -> None:
    with pytest.raises(StudyError) as caught:
        _get(server, folder, **options)
    message = one_sentence(str(caught.value))
    for part in parts:
        assert part in message, message


def _names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_arrive_whole_in_order_and_are_not_fetched_again(tmp_path, server):
    server.files |= {"b.bin": OTHER, "files/77": b"by its number"}
    files = {"b.bin": md5(OTHER), "a.bin": sha256(CONTENT), "c.txt": sha256(b"by its number")}
    for base_url in (server.url, f"{server.url}/"):
        paths = download(files, base_url, tmp_path / "new" / "folder", addresses={"c.txt": "files/77"})
        assert [path.read_bytes() for path in paths] == [OTHER, CONTENT, b"by its number"]
        assert [path.name for path in paths] == list(files) and all(path.parent == tmp_path / "new" / "folder" for path in paths)
    assert server.asked == [("/b.bin", None), ("/a.bin", None), ("/files/77", None)]
    assert _names(tmp_path / "new" / "folder") == ["a.bin", "b.bin", "c.txt"]


def test_a_cut_connection_is_continued_where_it_broke(tmp_path, server):
    server.cuts = [4 * 65_536, 65_536 + 9]  # the block of the last nine bytes is lost
    assert _get(server, tmp_path)[0].read_bytes() == CONTENT
    assert server.asked == [("/a.bin", None), ("/a.bin", "bytes=262144-"), ("/a.bin", "bytes=327680-")]
    assert _names(tmp_path) == ["a.bin"]


def test_a_later_call_continues_what_an_earlier_one_left(tmp_path, server):
    server.cuts = [5 * 65_536, 0]
    _fails(server, tmp_path, "2 attempts", "broke off at 0.3 of 0.7 MB", "continues", attempts=2)
    assert not (tmp_path / "a.bin").exists() and (tmp_path / ".a.bin.part").read_bytes() == CONTENT[:327_680]
    assert _get(server, tmp_path)[0].read_bytes() == CONTENT
    assert server.asked[-1] == ("/a.bin", "bytes=327680-") and _names(tmp_path) == ["a.bin"]


def test_a_server_without_ranges_is_asked_from_the_start(tmp_path, server):
    server.ranges, server.cuts = False, [300_000]
    assert _get(server, tmp_path)[0].read_bytes() == CONTENT
    assert len(server.asked) == 2 and _names(tmp_path) == ["a.bin"]


@given(cuts=st.lists(st.integers(0, 250_000), max_size=4), ranges=st.booleans(), etags=st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_wherever_it_is_cut_the_file_is_whole(tmp_path_factory, server, cuts, ranges, etags):
    server.cuts, server.ranges, server.etags = list(cuts), ranges, etags
    folder = tmp_path_factory.mktemp("cut")
    assert _get(server, folder, pause_seconds=0)[0].read_bytes() == CONTENT
    assert _names(folder) == ["a.bin"]


def test_remains_of_another_version_are_thrown_away_after_the_checksum(tmp_path, server):
    server.etags = False
    (tmp_path / ".a.bin.part").write_bytes(OTHER[:1000])
    assert _get(server, tmp_path)[0].read_bytes() == CONTENT
    assert server.asked == [("/a.bin", "bytes=1000-"), ("/a.bin", None)]


def test_without_a_checksum_the_entity_tag_keeps_versions_apart(tmp_path, server):
    server.cuts = [327_680]
    _fails(server, tmp_path, "broke off", attempts=1, checksum=None)
    server.files["a.bin"] = OTHER
    assert _get(server, tmp_path, None)[0].read_bytes() == OTHER
    assert [asked for _, asked in server.asked] == [None, "bytes=327680-"] and _names(tmp_path) == ["a.bin", "checksums.json"]


def test_remains_that_are_complete_only_need_their_name(tmp_path, server):
    (tmp_path / ".a.bin.part").write_bytes(CONTENT)
    assert _get(server, tmp_path)[0].read_bytes() == CONTENT
    assert server.asked == [("/a.bin", f"bytes={len(CONTENT)}-")]


def test_remains_longer_than_the_file_are_thrown_away(tmp_path, server):
    (tmp_path / ".a.bin.part").write_bytes(CONTENT + b"more")
    assert _get(server, tmp_path)[0].read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [f"bytes={len(CONTENT) + 4}-", None]


@pytest.mark.parametrize("expected", [sha256(CONTENT), md5(CONTENT)])
def test_wrong_bytes_are_refused_and_not_kept(tmp_path, server, expected):
    server.files["a.bin"] = OTHER
    found = md5(OTHER) if expected.startswith("md5") else sha256(OTHER)
    _fails(server, tmp_path, f"{server.url}/a.bin", found, expected, checksum=expected)
    assert len(server.asked) == 1 and _names(tmp_path) == []


def test_wrong_bytes_do_not_replace_what_was_there(tmp_path, server):
    server.files["a.bin"] = OTHER
    (tmp_path / "a.bin").write_bytes(b"an older version")
    _fails(server, tmp_path, sha256(CONTENT))
    assert (tmp_path / "a.bin").read_bytes() == b"an older version"


def test_a_damaged_file_is_replaced(tmp_path, server):
    (tmp_path / "a.bin").write_bytes(CONTENT[:-1])
    assert _get(server, tmp_path)[0].read_bytes() == CONTENT and len(server.asked) == 1


def test_the_first_download_is_recorded_and_holds(tmp_path, server):
    _get(server, tmp_path, None)
    assert json.loads((tmp_path / "checksums.json").read_text()) == {"a.bin": f"sha256:{sha256(CONTENT)}"}
    _get(server, tmp_path, None)
    assert len(server.asked) == 1
    (tmp_path / "a.bin").write_bytes(b"spoilt")
    assert _get(server, tmp_path, None)[0].read_bytes() == CONTENT
    server.files["a.bin"] = OTHER
    (tmp_path / "a.bin").unlink()
    _fails(server, tmp_path, sha256(OTHER), sha256(CONTENT), checksum=None)
    assert _names(tmp_path) == ["checksums.json"]


def test_a_file_already_there_is_recorded_without_the_server(tmp_path, server):
    (tmp_path / "a.bin").write_bytes(OTHER)
    assert _get(server, tmp_path, None)[0].read_bytes() == OTHER and server.asked == []
    assert json.loads((tmp_path / "checksums.json").read_text()) == {"a.bin": f"sha256:{sha256(OTHER)}"}


@pytest.mark.parametrize("text", ["{", "[]", '"a"'])
def test_a_broken_record(tmp_path, server, text):
    (tmp_path / "checksums.json").write_text(text)
    _fails(server, tmp_path, "checksums.json is no readable list", checksum=None)


def test_a_busy_server_is_asked_again(tmp_path, server):
    server.statuses = [503, 429]
    assert _get(server, tmp_path)[0].read_bytes() == CONTENT and len(server.asked) == 3


def test_a_server_that_stays_busy(tmp_path, server):
    server.statuses = [503] * 9
    started = time.perf_counter()
    parts = (f"{server.url}/a.bin", "4 attempts", "answered 503 Service Unavailable", str(tmp_path))
    _fails(server, tmp_path, *parts, attempts=4, pause_seconds=0.03)
    assert 0.03 + 0.06 + 0.12 < time.perf_counter() - started < 5
    assert len(server.asked) == 4 and _names(tmp_path) == []


@pytest.mark.parametrize(("status", "words"), [(404, "404 Not Found"), (403, "403 Forbidden"), (202, "202 Accepted")])
def test_an_answer_that_is_not_the_file_is_final(tmp_path, server, status, words):
    server.statuses = [status]
    _fails(server, tmp_path, f"{server.url}/a.bin answered {words}", "put a.bin into")
    assert len(server.asked) == 1 and _names(tmp_path) == []


def test_nobody_answers(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(StudyError) as caught:
        download({"a.bin": None}, address, tmp_path, attempts=2, pause_seconds=0)
    assert "2 attempts: 127.0.0.1 cannot be reached" in one_sentence(str(caught.value))
    assert _names(tmp_path) == []


@pytest.mark.parametrize("address", ["nonsense", "ftp://example.org/data", "http://", ""])
def test_no_address(tmp_path, address):
    with pytest.raises(StudyError) as caught:
        download({"a.bin": None}, address, tmp_path)
    assert "is no address to download a.bin from" in one_sentence(str(caught.value))


def test_passwords_in_an_address_are_not_shown(tmp_path, server):
    server.statuses = [404]
    with pytest.raises(StudyError) as caught:
        download({"a.bin": None}, f"http://user:secret@127.0.0.1:{server.server_port}/mirror", tmp_path)
    message = str(caught.value)
    assert f"http://127.0.0.1:{server.server_port}/mirror/a.bin answered 404" in message and "secret" not in message


def test_a_full_disk_is_one_sentence_and_the_part_is_continued(tiny_disk, server):
    server.files["a.bin"] = content = CONTENT + OTHER
    (tiny_disk / "other").write_bytes(bytes(500_000))
    _fails(server, tiny_disk, "disk filled up while downloading a.bin", checksum=sha256(content))
    left = (tiny_disk / ".a.bin.part").stat().st_size
    assert 0 < left < 600_000 and not (tiny_disk / "a.bin").exists()
    (tiny_disk / "other").unlink()
    server.files["a.bin"] = content = content[: left + 100_000]
    server.etags = False
    (tiny_disk / ".a.bin.part.etag").unlink()
    assert _get(server, tiny_disk, sha256(content))[0].read_bytes() == content
    assert server.asked[-1] == ("/a.bin", f"bytes={left}-")


def test_a_file_in_the_folders_place(tmp_path, server):
    (tmp_path / "folder").write_text("in the way")
    _fails(server, tmp_path / "folder", "a.bin cannot be written to", str(tmp_path / "folder"))


def test_progress_is_shown(tmp_path, server, capsys):
    server.cuts = [5 * 65_536]
    _get(server, tmp_path)
    told = capsys.readouterr().err
    assert "downloading a.bin" in told and "684k/684k" in told and "47%" in told
