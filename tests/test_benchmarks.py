"""The benchmarks run and print what they say they print; what they measure is not asserted here."""

import subprocess
import sys
from pathlib import Path

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
