"""Tables kept beside a network's weights: computed once, and again as soon as anything that decides them changes."""

from __future__ import annotations

import pandas as pd
import pytest

from xai import kept
from xai.kept import kept_table
from xai.paths import Study, StudyError


@pytest.fixture
def study(tmp_path) -> Study:
    study = Study(tmp_path)
    study.weights("vgg16", "hybrid").parent.mkdir(parents=True)
    study.weights("vgg16", "hybrid").write_bytes(b"weights")
    study.index.parent.mkdir(parents=True, exist_ok=True)
    study.index.write_text("id,patient\n007,p1\n")
    return study


@pytest.fixture
def ask(study):
    """Ask for a table with some parameters; the number of times that it was made grows in `ask.made`."""

    def ask(knobs=1, modules=("masks.py",), variant="hybrid") -> pd.DataFrame:
        def make() -> pd.DataFrame:
            ask.made += 1
            return pd.DataFrame({"id": ["007"], "patient": ["NA"], "dice": [0.1 + ask.made]})

        return kept_table(study, "vgg16", variant, "overlap.csv", make, knobs={"slices": knobs}, modules=modules)

    ask.made = 0
    return ask


def test_it_is_made_once_and_read_back_as_it_was(ask):
    first, again = ask(), ask()
    assert ask.made == 1
    pd.testing.assert_frame_equal(first, again, check_dtype=False)  # "007" stays text, and "NA" a name


def test_each_thing_that_decides_it_makes_it_anew(ask, study, tmp_path, monkeypatch):
    ask()
    ask(knobs=2)
    assert ask.made == 2
    study.weights("vgg16", "hybrid").write_bytes(b"other weights")
    ask(knobs=2)
    assert ask.made == 3
    study.index.write_text("id,patient\n008,p1\n")
    ask(knobs=2)
    assert ask.made == 4
    (tmp_path / "masks.py").write_text("# another way\n")
    monkeypatch.setattr(kept, "__file__", str(tmp_path / "kept.py"))
    ask(knobs=2)
    ask(knobs=2)
    assert ask.made == 5


def test_a_table_without_its_mark_is_not_believed(ask, study):
    """As a kill between the two files leaves it."""
    ask()
    (study.model("vgg16", "hybrid") / "overlap.state").unlink()
    ask()
    assert ask.made == 2


def test_a_network_that_was_not_trained_is_named(ask):
    with pytest.raises(StudyError, match="02_training of vgg16, variant classification_only"):
        ask(variant="classification_only")
    assert ask.made == 0
