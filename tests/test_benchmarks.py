"""The benchmarks run and print what they say they print; what they measure is not asserted here."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(name: str, *arguments: str) -> str:
    result = subprocess.run([sys.executable, BENCHMARKS / name, *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def test_the_store_benchmark_has_a_row_for_each_count():
    header, *rows = run("store.py", "--counts", "30", "60", "--image-size", "32").splitlines()
    assert header.split() == ["slices", "prepare", "ms", "iterate", "ms", "private", "MiB", "resident", "MiB"]
    assert [int(row.split()[0]) for row in rows] == [30, 60]
    assert all(float(value) >= 0 for row in rows for value in row.split())


@pytest.mark.parametrize("name", sorted(path.name for path in BENCHMARKS.glob("*.py")))
def test_every_benchmark_has_help(name):
    assert "usage:" in run(name, "--help")


def test_the_saliency_benchmark_counts_in_forward_passes():
    lines = run("saliency.py", "vgg16", "--image-size", "32", "--images", "2", "--rounds", "1").strip().splitlines()
    assert lines[0].startswith("vgg16, 32 px, 128 channels at evidence")
    rows = [line for line in lines if line.rstrip().endswith("passes")]
    assert [row.split("  ")[1] for row in rows][:3] == ["forward", "gradcam + gradcampp", "scorecam"]
    assert all(float(row.split()[-3]) > 0 for row in rows)


def test_the_writers_benchmark_keeps_its_reports(tmp_path):
    arguments = ("writers.py", "--writers", "template", "--findings", "3", "--folder", str(tmp_path))
    lines = run(*arguments).splitlines()
    assert lines[0] == "template: complete" and lines[1].split() == ["template"]
    shown = {line[:22].strip(): line[22:].split() for line in lines[2:]}
    assert shown["reports"] == ["3"] and shown["precision"] == ["1", "[1,", "1]"] and shown["sentences as template"] == ["1", "[1,", "1]"]
    kept = (tmp_path / "template.jsonl").read_bytes()
    assert kept.count(b"\n") == 3
    run(*arguments, "--to", str(tmp_path / "tables"))
    assert (tmp_path / "template.jsonl").read_bytes() == kept
    table = pd.read_csv(tmp_path / "tables" / "writers.csv")
    assert table["writer"].tolist() == ["template"] and table["precision"].tolist() == [1.0]
    assert pd.read_csv(tmp_path / "tables" / "inventions.csv").columns.tolist() == ["writer", "kind", "reason", "claims", "reports", "example"]
    assert {"date", "commit", "device", "findings", "seed"} <= set(json.loads((tmp_path / "tables" / "writers.json").read_text()))
