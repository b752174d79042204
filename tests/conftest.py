"""What several test modules share: a small real folder of slices, a small prepared study, a disk that is full."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from xai.data.dataset import Slice, prepare
from xai.paths import LABELS, PLANES, Study

# One thread in every TensorFlow of the tests: several add in an order that changes from run to run, and two test processes share the cores.
os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}

REPOSITORY = Path(__file__).resolve().parents[1]


def one_sentence(message: str) -> str:
    """Return `message` after checking that it is one sentence on one line, as every error of the study must be."""
    assert "\n" not in message and "Traceback" not in message
    assert message.endswith(".") and not re.search(r"[.!?] [A-Z]", message), message
    return message


def draw_slice(number: int, size: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Noise that no other slice resembles, and a bright disc of known place; image and mask, uint8 (size, size)."""
    generator = np.random.default_rng(number)
    rows, columns = np.mgrid[:size, :size]
    inside = (rows - generator.integers(10, size - 10)) ** 2 + (columns - generator.integers(10, size - 10)) ** 2 <= 25
    image = generator.integers(0, 120, (size, size))
    return np.where(inside, 240, image).astype(np.uint8), inside.astype(np.uint8)


def write_folder(root: Path, patients_per_class: int = 3, slices_per_patient: int = 2) -> Path:
    """A folder as a user brings it: PNG images, masks of 0 and 255, an index with folds 1, 2, 3."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    records = []
    for number in range(3 * patients_per_class * slices_per_patient):
        patient = number // slices_per_patient
        image, mask = draw_slice(number)
        Image.fromarray(image).save(root / "images" / f"{number}.png")
        Image.fromarray(mask * np.uint8(255)).save(root / "masks" / f"{number}.png")
        records.append({
            "id": f"s{number:03d}", "image": f"images/{number}.png", "mask": f"masks/{number}.png", "label": LABELS[patient % 3],
            "patient": f"P{patient}", "plane": PLANES[number % 3], "fold": patient // 3 % 3 + 1,
        })  # fmt: skip
    pd.DataFrame(records).to_csv(root / "index.csv", index=False)
    return root


def edit_index(root: Path, change: Callable[[pd.DataFrame], pd.DataFrame | None]) -> None:
    """Rewrite `index.csv` after `change`, which alters the table or returns another."""
    index = pd.read_csv(root / "index.csv", dtype=str, keep_default_na=False)
    changed = change(index)
    (index if changed is None else changed).to_csv(root / "index.csv", index=False)


PROGRESS = ("preparing slices:", "checking slices:", "downloading ")  # bars, not sentences


def run_module(module: str, *arguments: object) -> tuple[int, list[str]]:
    """Run ``python -m module``; its exit code and the lines on stderr without progress bars."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)], cwd=REPOSITORY, capture_output=True, text=True, timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}, check=False,
    )  # fmt: skip
    assert done.stdout == ""
    lines = [line for line in re.split(r"[\r\n]+", done.stderr) if line.strip() and not line.startswith(PROGRESS)]
    return done.returncode, lines


def small_slices(slices_of_patient: dict[str, int], size: int = 40) -> Iterator[Slice]:
    """Slices of patients named by their class, such as ``{"glioma-1": 3}``."""
    number = 0
    for patient, count in slices_of_patient.items():
        for _ in range(count):
            image, mask = draw_slice(number, size)
            yield Slice(f"s{number:04d}", image, mask, patient.split("-")[0], patient, PLANES[number % 3])
            number += 1


def prepare_small(
    root: Path, slices_of_patient: dict[str, int], splits: dict[str, str] | Callable[[pd.DataFrame], list[str]], size: int = 40
) -> Study:
    """Prepare a study of `small_slices`; `splits` by patient, or any function of the index."""
    study = Study(root)
    assign = splits if callable(splits) else lambda index: index["patient"].map(splits)
    count = sum(slices_of_patient.values())
    prepare(study, small_slices(slices_of_patient, size), count=count, image_size=size, source="small", assign_splits=assign)
    return study


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes x three patients x two slices."""
    return write_folder(tmp_path / "folder")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The graph tests first: they take longest, and the other files fit on the second worker meanwhile."""
    items.sort(key=lambda item: "graph" not in item.keywords)
