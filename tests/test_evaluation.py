"""The study's tables from the files of a study, each against a computation of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY, one_sentence, prepare_small
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score
from test_findings import make_findings

from xai import evaluation
from xai.data.dataset import Dataset
from xai.findings import Findings
from xai.metrics.text import evaluate_report
from xai.paths import LABELS, Study, StudyError, atomic, write_text
from xai.profiles import Profile
from xai.reporting import report_study
from xai.reports import read_reports

SERIES = {
    "glioma-1": 2, "glioma-2": 1, "glioma-3": 3, "glioma-4": 2, "meningioma-1": 1, "meningioma-2": 2, "meningioma-3": 1,
    "meningioma-4": 3, "pituitary-1": 1, "pituitary-2": 1, "pituitary-3": 2, "pituitary-4": 1,
}  # fmt: skip
PROFILE = Profile(
    seed=11, data={"image_size": 40}, training={
        "architectures": ["vgg16", "resnet50", "efficientnetb0"], "ablation": ["efficientnetb0"], "batch_size": 4,
        "learning_rate": 0.01, "learning_rates": {"vgg16": 0.0002},
    }, reports={"writers": ["template", "llama"], "findings": 3}, evaluation={"bootstrap": 60},
)  # fmt: skip
# How many of the twelve test slices each network gets wrong, so that the order of the table is known.
MISTAKES = {"vgg16": 5, "resnet50": 0, "efficientnetb0": 2, "efficientnetb0-classification_only": 3}


def _splits(patient: str) -> str:
    return {"1": "train", "2": "validation"}.get(patient[-1], "test")


def write_predictions(path: Path, index: pd.DataFrame, mistakes: int) -> None:
    """Softmax probabilities as training writes them, the first `mistakes` slices wrong."""
    generator = np.random.default_rng(mistakes)
    truth = index["label"].map(LABELS.index).to_numpy()
    chosen = np.where(np.arange(len(index)) < mistakes, (truth + 1) % 3, truth)
    values = generator.random((len(index), 3)).astype(np.float32) + 1.5 * np.eye(3, dtype=np.float32)[chosen]
    table = index[["id", "label", "patient", "plane"]].reset_index(drop=True)
    table = table.join(pd.DataFrame(values / values.sum(axis=1, keepdims=True), columns=[f"prob_{label}" for label in LABELS]))
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)


def _write_network(study: Study, name: str, number: int) -> None:
    folder = study.root / "models" / name
    network = {
        "parameters": 1000 + number, "target_layer": f"conv{number}", "grid": 5, "channels": 64 * number, "last": ["top", 3, 512],
        "skips": [["deep", 5, 256], ["top", 3, 512], ["shallow", 20, 32]], "decoder": [64, 32],
    }  # fmt: skip
    write_text(folder / "network.json", json.dumps(network, indent=1))
    write_text(folder / "seconds.json", json.dumps({"training": 12.6 + number, "epochs": 4, "best_epoch": 3, "parameters": 1, "threads": "1"}))
    write_text(folder / "history.csv", f"epoch,seconds,loss,val_loss\n1,2.5,{number}.5,1.25\n2,2.5,{number}.25,1.0\n")


def write_study(root: Path) -> Study:
    """A study as the chapters before the last leave it, with tiny contents in the real formats."""
    study = prepare_small(root, SERIES, lambda index: [_splits(patient) for patient in index["patient"]])
    dataset = Dataset(study)
    test = dataset.rows("test")
    index, truth = dataset.index.iloc[test], np.asarray(dataset.masks[test])
    for number, (name, mistakes) in enumerate(MISTAKES.items(), start=1):
        write_predictions(study.root / "models" / name / "predictions.csv", index, mistakes)
        _write_network(study, name, number)
    for number, name in enumerate(["vgg16", "resnet50", "efficientnetb0", "efficientnetb0-segmentation_only"]):
        # Shifted masks as float16 probabilities; the values around one half tell > from >=.
        predicted = np.where(np.roll(truth, number, axis=2) > 0, 0.75, 0.5).astype(np.float16)
        if number == 3:
            predicted[0] = 0
        with atomic(study.root / "models" / name / "test_masks.npy") as temporary:
            np.save(temporary, predicted)
    for name in PROFILE.training.architectures:
        table = pd.DataFrame({"architecture": name, "method": ["gradcam", "random"], "insertion": [0.7, 0.5], "deletion": [0.2, 0.4]})
        write_text(study.saliency_table(name, "faithfulness"), table.to_csv(index=False))
        write_text(study.saliency_table(name, "sanity"), table.assign(layer_fraction=[0.0, 0.5], similarity=[1.0, 0.25]).to_csv(index=False))
        likeness = pd.DataFrame({"architecture": name, "method": "gradcam", "change": "shift 1 %", "similarity": np.arange(11) / 10})
        write_text(study.saliency_table(name, "stability"), likeness.to_csv(index=False))
    for row in index.itertuples():
        probabilities = {label: 0.8 if label == row.label else 0.1 for label in LABELS}
        make_findings(id=row.id, plane=row.plane, prediction={"label": row.label, "probabilities": probabilities}).save(study.findings(row.id))
    return study


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GROQ_API_KEY", "XAI_API_KEY", "MISTRAL_API_KEY", "OPENAI_API_KEY"):
            patch.delenv(name, raising=False)
        study = write_study(tmp_path_factory.mktemp("runs") / "mine")
        for writer in PROFILE.reports.writers:
            report_study(study, PROFILE, writer)
    return study


def _predictions(study: Study, name: str) -> pd.DataFrame:
    return pd.read_csv(study.root / "models" / name / "predictions.csv", dtype={"id": str})


def _resampled_mean(values: list[float], patients: list[str], draws: int, seed: int) -> tuple[float, float]:
    """The bootstrap spelled out: for each draw a list of patients, and every slice of each as often as it was drawn."""
    names = sorted(set(patients))
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(draws):
        counts = generator.multinomial(len(names), [1 / len(names)] * len(names))
        drawn = [name for name, count in zip(names, counts) for _ in range(count)]
        sample = [value for name in drawn for value, owner in zip(values, patients) if owner == name]
        means.append(sum(sample) / len(sample))
    return tuple(np.percentile(means, [2.5, 97.5]))


def test_classification_is_sorted_and_right(study):
    table = evaluation.classification(study, PROFILE)
    assert list(table["architecture"]) == ["resnet50", "efficientnetb0", "vgg16"]
    assert np.allclose(table["accuracy"], [1, 10 / 12, 7 / 12])
    for row in table.to_dict("records"):
        predictions = _predictions(study, row["architecture"])
        values = predictions[[f"prob_{label}" for label in LABELS]].to_numpy()
        truth, chosen = predictions["label"], np.array(LABELS)[values.argmax(axis=1)]
        assert row["accuracy"] == pytest.approx(accuracy_score(truth, chosen))
        for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
            assert row[name] == pytest.approx(score(truth, chosen, average="macro", zero_division=0))
        area = roc_auc_score(truth, values / values.sum(axis=1, keepdims=True), multi_class="ovr", average="macro", labels=list(LABELS))
        assert row["auc"] == pytest.approx(area)
        assert (row["slices"], row["patients"]) == (12, 6)
        interval = _resampled_mean(list((truth == chosen).astype(float)), list(predictions["patient"]), 60, 11)
        assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx(interval)


def test_segmentation_is_sorted_and_right(study):
    table = evaluation.segmentation(study, PROFILE)
    assert list(table["architecture"]) == ["vgg16", "resnet50", "efficientnetb0"], "masks shifted by 0, 1 and 2 pixels"
    assert table.loc[0, ["dice", "iou", "hd95"]].tolist() == [1, 1, 0] and table.loc[0, ["dice_low", "dice_high"]].tolist() == [1, 1]
    dataset = Dataset(study)
    for shift, row in enumerate(table.to_dict("records")):
        dices, ious = [], []
        for mask in np.asarray(dataset.masks[dataset.rows("test")]):
            drawn = {(r, c) for r, c in np.argwhere(mask)}
            found = {(r, (c + shift) % 40) for r, c in drawn}
            dices.append(2 * len(drawn & found) / (len(drawn) + len(found)))
            ious.append(len(drawn & found) / len(drawn | found))
        assert row["dice"] == pytest.approx(np.mean(dices)) and row["iou"] == pytest.approx(np.mean(ious))
        patients = list(dataset.index["patient"].iloc[dataset.rows("test")])
        assert (row["dice_low"], row["dice_high"]) == pytest.approx(_resampled_mean(dices, patients, 60, 11))
    assert table["hd95"].tolist() == pytest.approx([0, 1, 2], abs=0.5) and table["hd95"].is_monotonic_increasing


def test_the_interval_resamples_patients_and_not_slices():
    """Ten patients of one value each: slices say little, patients as much as ten independent values."""
    generator = np.random.default_rng(3)
    of_patient = generator.normal(size=10)
    patients = np.repeat(np.arange(10), 40)
    values = of_patient[patients]
    low, high = evaluation.patient_interval(values, patients, draws=4000, seed=1)
    # An independent bootstrap over the ten values, by another generator and another way to draw.
    means = np.random.default_rng(99).choice(of_patient, (4000, 10)).mean(axis=1)
    assert (low, high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.06)
    as_if_slices = evaluation.patient_interval(values, np.arange(400), draws=4000, seed=1)
    assert high - low > 4 * (as_if_slices[1] - as_if_slices[0])
    assert evaluation.patient_interval(values, patients, draws=50, seed=1) == pytest.approx(_resampled_mean(list(values), list(patients), 50, 1))


def test_long_series_weigh_by_their_slices():
    """The mean is over slices: a patient of nine zeros and one of a single one gives 0, 0.1 or 1 and nothing else."""
    values, patients = np.array([0.0] * 9 + [1.0]), np.array(["A"] * 9 + ["B"])
    low, high = evaluation.patient_interval(values, patients, draws=2000, seed=0)
    assert (low, high) == (0, 1)
    assert evaluation.patient_interval(values, np.array(["A"] * 10), draws=20, seed=0) == pytest.approx((0.1, 0.1))


def test_scores_by_class_and_plane_add_up(study):
    scores, predictions = evaluation.classification(study, PROFILE), evaluation.predictions_by_architecture(study, PROFILE)
    table = evaluation.classification_by(scores, predictions, PROFILE)
    assert set(table["architecture"]) == {scores.iloc[0]["architecture"]} and set(table["by"]) == {"class", "plane"}
    for by, part in table.groupby("by"):
        assert part["slices"].sum() == 12
        assert (part["accuracy"] * part["slices"]).sum() / 12 == pytest.approx(scores.iloc[0]["accuracy"]), by
    heads = evaluation.segmentation_by(study, PROFILE, "resnet50")
    whole = evaluation.segmentation(study, PROFILE).set_index("architecture").loc["resnet50"]
    for by, part in heads.groupby("by"):
        assert part["slices"].sum() == 12
        for measure in ("dice", "iou", "hd95"):
            assert (part[measure] * part["slices"]).sum() / 12 == pytest.approx(whole[measure]), (by, measure)


def test_patients_add_up_and_are_not_named(study):
    table = evaluation.segmentation_patients(study, "resnet50")
    index = Dataset(study).index
    index = index[index["split"] == "test"]
    assert list(table.columns) == ["label", "slices", "dice", "missed"] and len(table) == index["patient"].nunique()
    assert table.groupby("label")["slices"].sum().to_dict() == index["label"].value_counts().to_dict()
    whole = evaluation.segmentation(study, PROFILE).set_index("architecture").loc["resnet50"]
    assert np.average(table["dice"], weights=table["slices"]) == pytest.approx(whole["dice"])
    path = study.test_masks("resnet50")
    original = path.read_bytes()
    try:
        with atomic(path) as temporary:
            np.save(temporary, np.zeros_like(np.load(path)))
        assert (emptied := evaluation.segmentation_patients(study, "resnet50"))["missed"].equals(emptied["slices"])
    finally:
        path.write_bytes(original)


def test_scores_by_class_are_of_the_slices_of_that_class(study):
    """With the masks of the gliomas emptied, theirs alone become zero."""
    path = study.test_masks("resnet50")
    original = path.read_bytes()
    masks = np.load(path)
    index = Dataset(study).index
    masks[(index[index["split"] == "test"]["label"] == "glioma").to_numpy()] = 0
    try:
        with atomic(path) as temporary:
            np.save(temporary, masks)
        heads = evaluation.segmentation_by(study, PROFILE, "resnet50").set_index(["by", "value"])["dice"]
    finally:
        path.write_bytes(original)
    assert heads["class", "glioma"] == 0 and heads["class", "meningioma"] > 0.5 < heads["class", "pituitary"]


def test_architectures_join_profile_network_and_training(study):
    table = evaluation.architectures(study, PROFILE)
    assert table.to_dict("records")[0] == {
        "architecture": "vgg16", "parameters": 1001, "target_layer": "conv1", "grid": 5, "channels": 64, "epochs": 4, "kept_epoch": 3,
        "learning_rate": 0.0002, "batch_size": 4, "seconds": 14,
    }  # fmt: skip
    assert table["learning_rate"].tolist() == [0.0002, 0.01, 0.01] and table["parameters"].tolist() == [1001, 1002, 1003]


def test_histories_and_saliency_tables_are_joined_in_the_profiles_order(study):
    histories = evaluation.histories(study, PROFILE)
    assert list(histories) == list(PROFILE.training.architectures) and histories["resnet50"]["loss"].tolist() == [2.5, 2.25]
    for table in (evaluation.faithfulness(study, PROFILE), evaluation.sanity(study, PROFILE)):
        assert table["architecture"].tolist() == [name for name in PROFILE.training.architectures for _ in range(2)]
        assert table["insertion"].tolist() == [0.7, 0.5] * 3


def test_checks_of_explanations_by_hand(study):
    """Untouched weights are no check; a row is the mean of its slices with their 10 and 90 % points."""
    table = evaluation.explanation_checks(study, PROFILE)
    assert table["architecture"].tolist() == [name for _ in range(2) for name in PROFILE.training.architectures]
    own = table[table["architecture"] == "vgg16"].set_index("check")
    assert own.loc["50% of layers randomised", ["method", "slices", "similarity"]].tolist() == ["random", 1, 0.25]
    shift = own.loc["shift 1 %"]
    assert (shift["method"], shift["slices"]) == ("gradcam", 11)
    assert shift[["p10", "similarity", "p90"]].tolist() == pytest.approx([0.1, 0.5, 0.9])


def test_a_missing_chapter_is_named(study, tmp_path):
    empty = Study(tmp_path / "empty")
    for table in (evaluation.classification, evaluation.architectures, evaluation.histories, evaluation.faithfulness, evaluation.load_reports):
        with pytest.raises(StudyError) as raised:
            table(empty, PROFILE)
        assert "is made by chapter 0" in one_sentence(str(raised.value))


def test_names_that_look_like_missing_values_stay_names(tmp_path):
    study = Study(tmp_path)
    write_text(study.predictions("vgg16"), "id,label,patient,plane,prob_glioma,prob_meningioma,prob_pituitary\nNA,glioma,null,axial,0.5,0.25,\n")
    profile = PROFILE.model_copy(update={"training": PROFILE.training.model_copy(update={"architectures": ("vgg16",)})})
    row = evaluation.predictions_by_architecture(study, profile)["vgg16"].iloc[0]
    assert (row["id"], row["patient"], row["prob_glioma"]) == ("NA", "null", 0.5) and np.isnan(row["prob_pituitary"])


def test_best_against_second(study):
    scores, predictions = evaluation.classification(study, PROFILE), evaluation.predictions_by_architecture(study, PROFILE)
    row = evaluation.best_against_second(scores, predictions, PROFILE).iloc[0]
    assert (row["best"], row["second"], row["only_first"], row["only_second"]) == ("resnet50", "efficientnetb0", 2, 0)
    assert row["p_value"] == pytest.approx(0.5) and row["difference"] == pytest.approx(2 / 12)
    assert "nothing to compare" in evaluation.best_against_second(scores[:1], predictions, PROFILE).iloc[0, 0]


def test_writers_without_a_key_stand_as_not_run(study):
    table, by_report = evaluation.writers(study, PROFILE)
    assert table["writer"].tolist() == ["template", "llama"] and table["n"].tolist() == [3, 0]
    template, llama = table.iloc[0], table.iloc[1]
    assert template["status"] == "complete" and llama["status"].startswith("not run: ") and "GROQ_API_KEY" in llama["status"]
    assert llama.drop(["writer", "n", "status"]).isna().all(), "no number for what was not run"
    assert by_report["writer"].tolist() == ["template"] * 3
    texts = {report.id: report.text for report in read_reports(study.reports("template"))}
    expected = [evaluate_report(texts[name], Findings.load(study.findings(name))) for name in by_report["id"]]
    for metric in ("ttr", "mtld", "flesch", "fact_precision", "unsupported"):
        assert template[metric] == pytest.approx(np.mean([scores[metric] for scores in expected]))
        assert by_report[metric].tolist() == pytest.approx([scores[metric] for scores in expected])
        assert template[f"{metric}_low"] <= template[metric] <= template[f"{metric}_high"]


def test_a_study_in_which_no_writer_ran_is_still_a_table(study, tmp_path):
    lonely = Study(tmp_path / "lonely")
    write_text(lonely.reports("llama"), "")
    write_text(lonely.reports("llama").with_suffix(".status"), "not run: no key.\n")
    make_findings(id="b").save(lonely.findings("b"))
    make_findings(id="a").save(lonely.findings("a"))
    profile = Profile(reports={"writers": ["llama"]})
    table, by_report = evaluation.writers(lonely, profile)
    assert table[["writer", "n", "status"]].to_numpy().tolist() == [["llama", 0, "not run: no key."]] and by_report.empty
    shown = evaluation.reports_side_by_side(lonely, profile)
    assert shown["reports"] == {"llama": None} and json.loads(shown["findings"])["id"] == "a"
    nowhere = json.loads(lonely.findings("a").read_text())
    nowhere["anatomy"] |= {"regions": [], "lobe": None}
    write_text(lonely.findings("a"), json.dumps(nowhere))
    assert json.loads(evaluation.reports_side_by_side(lonely, profile)["findings"])["id"] == "b", "the first that names a region"
    nowhere["id"] = "b"
    write_text(lonely.findings("b"), json.dumps(nowhere))
    assert json.loads(evaluation.reports_side_by_side(lonely, profile)["findings"])["id"] == "a", "where none does, the first"


SCORES = pd.DataFrame({"architecture": ["resnet50", "vgg16"], "accuracy": [0.9125, 0.8]})
OVERLAPS = pd.DataFrame(
    [
        ("vgg16", "gradcam", "fixed", "all", 0.30), ("vgg16", "gradcam", "adaptive", "all", 0.50), ("resnet50", "gradcam", "fixed", "all", 0.40),
        ("vgg16", "scorecam", "fixed", "all", 0.42), ("resnet50", "scorecam", "adaptive", "all", 0.40),
        # None of these may decide: the oracle saw the truth, the baseline is no network, a class is not all.
        ("vgg16", "gradcampp", "oracle", "all", 0.99), ("none", "centre", "fixed", "all", 0.98), ("vgg16", "gradcampp", "fixed", "glioma", 0.97),
        ("vgg16", "gradcampp", "fixed", "all", 0.10),
    ], columns=["architecture", "method", "threshold", "label", "dice"],
)  # fmt: skip


def _writers(**rows: tuple[int, float, float, float]) -> pd.DataFrame:
    return pd.DataFrame([(name, *values) for name, values in rows.items()], columns=["writer", "n", "mtld", "coherence", "flesch"])


def _claims(writers: pd.DataFrame) -> list[str]:
    table = evaluation.claims(SCORES, OVERLAPS, writers)
    assert table["claim of the abstract"].tolist() == [
        "InceptionResNetV2 classifies best", "Grad-CAM++ overlaps best", "Grok3 leads lexical diversity", "Grok3 leads coherence",
        "LLaMA is the most readable",
    ]  # fmt: skip
    return table["this run"].tolist()


def test_claims_stand_beside_what_was_measured():
    nan = np.nan
    run = _claims(_writers(template=(3, 40.0, 0.5, 30.0), smollm2=(3, 52.25, 0.25, 41.0), llama=(0, nan, nan, nan), grok3=(0, nan, nan, nan), mistral=(0, nan, nan, nan)))
    assert run[0] == "resnet50 (0.912 accuracy)"
    assert run[1].startswith("scorecam (mean Dice 0.410 over networks and ")
    assert run[2] == "not run: grok3, mistral, llama; among the writers run: smollm2 (52.25)"
    assert run[3] == "not run: grok3, mistral, llama; among the writers run: template (0.50)"
    assert run[4] == "not run: grok3, mistral, llama; among the writers run: smollm2 (41.00)"


def test_claims_with_some_and_with_all_of_the_papers_writers():
    three = {"grok3": (3, 80.0, 0.2, 20.0), "mistral": (2, 70.0, 0.3, 25.0), "llama": (3, 60.0, 0.1, 50.0)}
    assert _claims(_writers(**three))[2:] == [
        "among the writers run: grok3 (80.00)", "among the writers run: mistral (0.30)", "among the writers run: llama (50.00)",
    ]  # fmt: skip
    del three["mistral"]
    assert _claims(_writers(**three))[2] == "not run: mistral; among the writers run: grok3 (80.00)"


def test_claims_where_nothing_can_be_said():
    assert _claims(_writers(llama=(0, np.nan, np.nan, np.nan)))[2] == "not run: grok3, mistral, llama; no writer ran"
    assert _claims(_writers(template=(1, np.nan, np.nan, 3.0)))[2:] == [
        "not run: grok3, mistral, llama; no writer ran", "not run: grok3, mistral, llama; no writer ran",
        "not run: grok3, mistral, llama; among the writers run: template (3.00)",
    ]  # fmt: skip


def test_prior_work_ends_with_this_run(study):
    scores = evaluation.classification(study, PROFILE)
    write_text(study.table("segmentation"), evaluation.segmentation(study, PROFILE).to_csv(index=False))
    published = REPOSITORY / "book" / "prior_work.csv"
    table = evaluation.prior_work(study, scores, published)
    pd.testing.assert_frame_equal(table.iloc[:-1], pd.read_csv(published, dtype=str, keep_default_na=False))
    own = table.iloc[-1]
    assert own["work"] == "this run (mine): resnet50" and own["data"] == "small" and own["split"] == "by patient"
    assert own["accuracy"] == "100.0 %" and own["segmentation Dice"] == "1.000"
    with pytest.raises(StudyError, match="run this chapter from the top folder"):
        evaluation.prior_work(study, scores, study.root / "nowhere.csv")


def test_schematic_runs_from_shallow_to_deep(study):
    drawn = evaluation.hybrid_schematic(study, PROFILE, "vgg16")
    assert drawn == {"features": [("shallow", 32, 2), ("deep", 256, 8), ("top", 512, 13)], "decoder": [64, 32], "image_size": 40,
                     "target_layer": "conv1"}


def test_reports_stand_side_by_side(study):
    shown = evaluation.reports_side_by_side(study, PROFILE)
    first = read_reports(study.reports("template"))[0]
    assert shown["reports"] == {"template": first.text, "llama": None}
    content, whole = json.loads(shown["findings"]), json.loads(study.findings(first.id).read_text())
    assert content["id"] == first.id and content.keys() == whole.keys()
    for name, value in whole["prediction"]["probabilities"].items():
        assert content["prediction"]["probabilities"][name] == pytest.approx(value, rel=1e-3)
    assert not re.search(r"\d\.\d{6}", shown["findings"])
    assert shown["prompt"].startswith("[system]\n") and "\n\n[user]\n" in shown["prompt"]
