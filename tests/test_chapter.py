"""Running one chapter: parameters arrive, failures end in one sentence, kernels started at once stay apart."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = "---\njupytext:\n  text_representation: {extension: .md, format_name: myst}\nkernelspec: {display_name: Python 3, language: python, name: python3}\n---\n\n"


def notebook(path: Path, code: str) -> Path:
    path.write_text(HEAD + "```{code-cell} ipython3\n:tags: [parameters]\n\nvalue = 1\n```\n\n```{code-cell} ipython3\n" + code + "\n```\n")
    return path


def start(source: Path, output: Path, *parameters: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "xai.chapter", str(source), str(output), *parameters]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)


def printed(output: Path) -> str:
    cells = json.loads(output.read_text(encoding="utf-8"))["cells"]
    return "".join("".join(out.get("text", "")) for cell in cells for out in cell.get("outputs", []))


@pytest.fixture
def hidden_leftovers(tmp_path):
    yield lambda: sorted(path.name for path in tmp_path.iterdir())


def test_kernels_started_at_once_do_not_mix(tmp_path):
    source = notebook(tmp_path / "say.md", "print('value is', value * 2)")
    runs = [start(source, tmp_path / f"{number}.ipynb", "-p", "value", str(number)) for number in range(3)]
    for number, run in enumerate(runs):
        _, errors = run.communicate(timeout=240)
        assert run.returncode == 0, errors
        assert printed(tmp_path / f"{number}.ipynb") == f"value is {number * 2}\n"
    assert not list(Path(__file__).parent.parent.glob("kernel-ipc*"))


def test_a_failing_chapter_ends_in_one_sentence_and_leaves_no_half_chapter(tmp_path, hidden_leftovers):
    source = notebook(tmp_path / "break.md", "print('so far')\nraise ValueError('the mask is 3 px but the image 4 px')")
    output = tmp_path / "out.ipynb"
    output.write_text("the chapter of an earlier run")
    run = start(source, output)
    _, errors = run.communicate(timeout=240)
    lines = [line for line in errors.splitlines() if line.startswith("error:")]
    assert run.returncode == 1
    assert len(lines) == 1 and "break" in lines[0] and "the mask is 3 px but the image 4 px" in lines[0]
    assert "Traceback" not in errors
    assert output.read_text() == "the chapter of an earlier run"
    assert printed(tmp_path / "out.failed.ipynb").startswith("so far")
    assert hidden_leftovers() == ["break.md", "out.failed.ipynb", "out.ipynb"]
