"""Tables as readers see them: intervals joined, the best in bold, everything escaped."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from xai.paths import Study
from xai.tables import LESS_IS_BETTER, kept_epoch, save_table, show

SCORES = pd.DataFrame({
    "architecture": ["vgg16", "resnet50v2", "xception"],
    "accuracy": [0.91, 0.87149, np.nan], "accuracy_low": [0.85, 0.80051, np.nan], "accuracy_high": [0.95, 1.0, np.nan],
    "hd95": [4.04, 12.25, 3.96], "parameters": [14_714_688, 999, 20],
})  # fmt: skip


def _soup(table) -> BeautifulSoup:
    return BeautifulSoup(table._repr_html_(), "html.parser")


def _cells(table) -> list[list[str]]:
    return [[cell.get_text() for cell in row.find_all(["td", "th"])] for row in _soup(table).find_all("tr")]


def _bold(table) -> list[str]:
    return [cell.get_text() for cell in _soup(table).find_all("strong")]


def test_nothing_has_no_minus():
    gaps = pd.DataFrame({"gap": [-0.0004, -0.0006, 0.0], "shift mm": [-0.04, -0.06, 0.0]})
    assert _cells(show(gaps))[1:] == [["0.000", "0.0"], ["-0.001", "-0.1"], ["0.000", "0.0"]]


def test_cells_are_named_rounded_and_joined_with_their_intervals():
    assert _cells(show(SCORES)) == [
        ["Network", "Accuracy", "HD95 (px)", "Parameters"],
        ["VGG16", "0.910 [0.850, 0.950]", "4.0", "14\u202f714\u202f688"],
        ["ResNet50V2", "0.871 [0.801, 1.000]", "12.2", "999"],
        ["Xception", "–", "4.0", "20"],
    ]


def test_columns_choose_and_order_and_keep_their_intervals():
    assert _cells(show(SCORES, columns=["hd95", "accuracy"]))[:2] == [["HD95 (px)", "Accuracy"], ["4.0", "0.910 [0.850, 0.950]"]]


def test_text_view_holds_the_same_cells():
    lines = repr(show(SCORES, columns=["architecture", "accuracy"])).splitlines()
    assert lines == ["Network     Accuracy", "VGG16       0.910 [0.850, 0.950]", "ResNet50V2  0.871 [0.801, 1.000]", "Xception    –"]


@pytest.mark.parametrize(
    ("column", "values", "best"),
    [
        ("dice", [0.5, 0.9, 0.7], ["0.900"]),
        ("dice", [0.9001, 0.5, 0.8999], ["0.900", "0.900"]),  # equal as shown
        ("dice", [np.nan, 0.2, 0.1], ["0.200"]),
        ("dice", [0.0, 0.0, -0.5], ["0.000", "0.000"]),
        ("accuracy", [1.0, 0.9, 1.0], ["1.000", "1.000"]),
        ("hd95", [12.0, 3.3, 9.1], ["3.3"]),
        ("deletion", [0.4, np.nan, 0.3], ["0.300"]),
        ("unsupported", [4, 0, 2], ["0"]),
        ("unsupported", [1, 3, 1], ["1", "1"]),
        ("n", [1, 0, 0], ["1"]),
        ("dice", [np.nan, np.nan, np.nan], []),
    ],
)
def test_the_best_is_bold(column, values, best):
    frame = pd.DataFrame({"method": ["a", "b", "c"], column: values})
    assert _bold(show(frame, mark=[column])) == best
    assert _bold(show(frame)) == []


def test_less_is_better_where_the_column_measures_error():
    assert {"hd95", "deletion", "ece", "unsupported"} <= LESS_IS_BETTER
    assert not {"accuracy", "dice", "insertion", "auc", "flesch"} & LESS_IS_BETTER


def test_only_the_value_is_bold_and_the_interval_stays_apart():
    cell = _soup(show(SCORES, columns=["accuracy"], mark=["accuracy"])).find("td")
    assert cell.strong.get_text() == "0.910" and cell.find(class_="interval").get_text() == "[0.850, 0.950]"


def test_everything_is_escaped():
    bad = "<script>alert(1)</script>"
    frame = pd.DataFrame({bad: [bad, f"x [{bad}"], "n&": ['"<img src=x>"', "a & b"]})
    shown = show(frame, mark=[bad])
    soup = _soup(shown)
    assert soup.find("script") is None and soup.find("img") is None
    assert "<script" not in shown._repr_html_() and "<img" not in shown._repr_html_()
    assert _cells(shown) == [["<script>alert(1)</script>", "N&"], [bad, '"<img src=x>"'], [f"x [{bad}", "a & b"]]


def test_missing_values_are_a_dash_of_every_kind():
    frame = pd.DataFrame({"dice": [np.nan, 0.5], "status": [None, "complete"], "n": pd.array([None, 3], dtype="Int64")})
    assert _cells(show(frame))[1] == ["–", "–", "–"]


def test_counts_beside_a_percentage_stay_whole():
    frame = pd.DataFrame([("pairs", 0), ("patients", 1), ("share, %", 41.7)], columns=["check", "found"], dtype=object)
    assert [row[1] for row in _cells(show(frame))] == ["Found", "0", "1", "41.7"]


def test_small_rates_keep_their_digits():
    assert _cells(show(pd.DataFrame({"learning_rate": [0.0001, 0.001]})))[1:] == [["0.0001"], ["0.001"]]


def test_numbers_are_marked_as_such():
    marked = [cell.get("class") for cell in _soup(show(SCORES)).find("tr").find_all("th")]
    assert marked == [None, ["number"], ["number"], ["number"]]


def test_an_empty_table_still_has_its_header():
    assert _cells(show(SCORES[:0])) == [["Network", "Accuracy", "HD95 (px)", "Parameters"]]


def test_saving_writes_the_numbers_unrounded(tmp_path):
    study = Study(tmp_path)
    assert save_table(study, "scores", SCORES) is SCORES
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "tables" / "scores.csv"), SCORES)


def test_a_paragraph_above_a_table_is_escaped_and_stays_with_it():
    frame = pd.DataFrame({"architecture": ["vgg16"], "dice": [0.5]})
    shown = show(frame, above="run of <b>today</b>")
    page = BeautifulSoup(shown._repr_html_(), "html.parser")
    assert page.p.get_text() == "run of <b>today</b>" and page.p.find_next_sibling("div")["class"] == ["study-table"]
    assert repr(shown).splitlines()[0] == "run of <b>today</b>" and repr(shown).splitlines()[1:] == repr(show(frame)).splitlines()
    assert show(frame)._repr_html_().startswith("<div")


def test_kept_epoch_sets_training_beside_validation():
    history = pd.DataFrame({"epoch": [1, 2], "val_score": [0.7, 0.6], "accuracy": [0.5, 0.9], "val_accuracy": [0.7, 0.6], "loss": [1.5, 0.5], "val_loss": [1.0, 2.0]})
    table = kept_epoch(history)
    assert table.to_dict("list") == {"measure": ["accuracy", "loss"], "training": [0.5, 1.5], "validation": [0.7, 1.0]}
