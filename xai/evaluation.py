"""Chapter 7's work: join what the chapters measured into the study's tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable

import numpy as np
import pandas as pd

from xai.data.dataset import Dataset
from xai.findings import Findings, shown
from xai.metrics import overlap
from xai.metrics.classification import accuracy_by, classification_table, expected_calibration_error, mcnemar
from xai.metrics.intervals import patient_interval
from xai.metrics.text import METRICS, evaluate_reports, evaluate_writers
from xai.paths import LABELS, Study, StudyError
from xai.profiles import Profile
from xai.reports.prompt import build_prompt
from xai.reports.writers import WRITERS


def predictions_by_architecture(study: Study, profile: Profile) -> dict[str, pd.DataFrame]:
    """Test predictions of every hybrid."""
    return {
        architecture: _read_predictions(study.need(study.predictions(architecture), f"02_training of {architecture}"))
        for architecture in profile.training.architectures
    }


def histories(study: Study, profile: Profile) -> dict[str, pd.DataFrame]:
    """Training history of every hybrid."""
    return {
        architecture: pd.read_csv(study.need(study.history(architecture), f"02_training of {architecture}"))
        for architecture in profile.training.architectures
    }


def architectures(study: Study, profile: Profile) -> pd.DataFrame:
    """Table T2: parameters, target layer, and how long and with what each network trained."""
    records = []
    for architecture in profile.training.architectures:
        made_by = f"02_training of {architecture}"
        facts = json.loads(study.need(study.model(architecture) / "network.json", made_by).read_text())
        seconds = json.loads(study.need(study.seconds(architecture), made_by).read_text())
        training = profile.training
        records.append({
            "architecture": architecture, "parameters": facts["parameters"], "target_layer": facts["target_layer"],
            "grid": facts["grid"], "channels": facts["channels"], "epochs": seconds["epochs"], "kept_epoch": seconds["best_epoch"],
            "learning_rate": training.learning_rates.get(architecture, training.learning_rate), "batch_size": training.batch_size,
            "seconds": round(seconds["training"]),
        })  # fmt: skip
    return pd.DataFrame(records)


def classification(study: Study, profile: Profile) -> pd.DataFrame:
    """Table T3: accuracy, precision, recall, F1, AUC with intervals over patients, and calibration error; best first."""
    records = [
        {"architecture": name, **classification_table(table, bootstrap=profile.evaluation.bootstrap, seed=profile.seed),
         "ece": expected_calibration_error(table)}
        for name, table in predictions_by_architecture(study, profile).items()
    ]  # fmt: skip
    return pd.DataFrame(records).sort_values("accuracy", ascending=False, ignore_index=True)


def classification_by(scores: pd.DataFrame, predictions: dict[str, pd.DataFrame], profile: Profile) -> pd.DataFrame:
    """Accuracy of the network with the highest one, by class and by plane; columns architecture, by, value, slices, patients, accuracy."""
    best = scores.iloc[0]["architecture"]
    parts = [
        accuracy_by(predictions[best], column, bootstrap=profile.evaluation.bootstrap, seed=profile.seed)
        .rename(columns={column: "value"}).assign(architecture=best, by="class" if column == "label" else column)
        for column in ("label", "plane")
    ]  # fmt: skip
    columns = ["architecture", "by", "value", "slices", "patients", "accuracy", "accuracy_low", "accuracy_high"]
    return pd.concat(parts, ignore_index=True)[columns]


def segmentation(study: Study, profile: Profile) -> pd.DataFrame:
    """Table T4: segmentation heads on the test split, mean over slices with intervals over patients."""
    records = [{"architecture": name, **_segmentation_scores(study, profile, name)} for name in profile.training.architectures]
    return pd.DataFrame(records).sort_values("dice", ascending=False, ignore_index=True)


def segmentation_by(study: Study, profile: Profile, architecture: str) -> pd.DataFrame:
    """Scores of one segmentation head by class and by plane; columns architecture, by, value, slices and those of table T4."""
    index = Dataset(study).index
    index = index[index["split"] == "test"].reset_index(drop=True)
    records = []
    for by, column in (("class", "label"), ("plane", "plane")):
        for value, part in index.groupby(column):
            scores = _segmentation_scores(study, profile, architecture, positions=part.index.to_numpy())
            records.append({"architecture": architecture, "by": by, "value": value, "slices": len(part), **scores})
    return pd.DataFrame(records)


MISSED = 0.05  # Dice below which a head has not found the tumour


def segmentation_patients(study: Study, architecture: str) -> pd.DataFrame:
    """One segmentation head's scores, a row for each test patient, who is not named: label, slices, dice (mean), missed (slices below `MISSED`)."""
    dataset = Dataset(study)
    rows = dataset.rows("test")
    found = np.load(study.need(study.test_masks(architecture), f"02_training of {architecture}"), mmap_mode="r")
    scores = np.array([overlap.dice(np.asarray(mask)[None] > 0.5, np.asarray(dataset.masks[row])[None] > 0)[0] for mask, row in zip(found, rows)])
    table = dataset.index.iloc[rows][["label", "patient"]].assign(dice=scores, missed=scores < MISSED)
    patients = table.groupby(["label", "patient"]).agg(slices=("dice", "size"), dice=("dice", "mean"), missed=("missed", "sum"))
    return patients.reset_index().drop(columns="patient").sort_values(["label", "dice"], ignore_index=True)


def faithfulness(study: Study, profile: Profile) -> pd.DataFrame:
    """Areas of the faithfulness curves of all networks; ``faithfulness.csv``."""
    return _joined(study, profile, "faithfulness")


def sanity(study: Study, profile: Profile) -> pd.DataFrame:
    """Likeness under randomised weights of all networks."""
    return _joined(study, profile, "sanity")


def explanation_checks(study: Study, profile: Profile) -> pd.DataFrame:
    """How alike heatmaps stay: with the network's weights randomised they should not, after a small change of the slice they should.

    Returns
    -------
    DataFrame
        architecture, method, check, slices, similarity (mean rank correlation), p10, p90 (percentiles over slices).
    """
    randomised = sanity(study, profile)
    randomised["check"] = [f"{share:.0%} of layers randomised" for share in randomised["layer_fraction"]]
    changed = _joined(study, profile, "stability").rename(columns={"change": "check"})
    both = pd.concat([randomised[randomised["layer_fraction"] > 0], changed])
    groups = both.groupby(["architecture", "method", "check"], sort=False)["similarity"]
    return groups.agg(
        slices="size", similarity="mean", p10=lambda values: values.quantile(0.1), p90=lambda values: values.quantile(0.9)
    ).reset_index()


def load_reports(study: Study, profile: Profile) -> tuple[pd.DataFrame, dict[str, str]]:
    """All reports, and for each writer its status: "complete", "incomplete: ..." or "not run: ..."."""
    frames, status = [], {}
    for writer in profile.reports.writers:
        made_by = f"06_reports of {writer}"
        path = study.need(study.reports(writer), made_by)
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        frames.append(pd.DataFrame(lines, columns=["id", "writer", "model", "prompt_sha256", "text", "seconds", "tokens", "prompt_tokens"]))
        status[writer] = study.need(path.with_suffix(".status"), made_by).read_text(encoding="utf-8").strip()
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True), status


def tally(study: Study, profile: Profile) -> pd.DataFrame:
    """Tokens, time and cost by writer, over the reports that are there.

    Tokens are those the servers counted; retries and answers without a text are not in them. Cost is in the currency of the profile's
    prices (``reports.settings.<writer>.input_price`` and ``output_price``, for a million tokens), ``unknown`` where they are not given,
    and ``none`` for the writers that run in this process.
    """
    reports, _ = load_reports(study, profile)
    rows = []
    for writer in profile.reports.writers:
        own = reports[reports["writer"] == writer]
        read, written = int(own["prompt_tokens"].fillna(0).sum()), int(own["tokens"].fillna(0).sum())
        seconds = own["seconds"].mean() if len(own) else np.nan
        rows.append({"writer": writer, "n": len(own), "tokens read": read, "tokens written": written, "seconds per report": seconds,
                     "cost": _cost(writer, read, written, profile) if len(own) else "not run"})  # fmt: skip
    return pd.DataFrame(rows)


def _cost(writer: str, read: int, written: int, profile: Profile) -> str:
    if WRITERS[writer].sdk is None:
        return "none"
    prices = profile.reports.settings.get(writer)
    if prices is None or prices.input_price is None or prices.output_price is None:
        return "unknown"
    return f"{(read * prices.input_price + written * prices.output_price) / 1e6:.4f}"


def writers(study: Study, profile: Profile) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table T7 by writer, a writer without reports as an empty row, and the scores of every report."""
    reports, status = load_reports(study, profile)
    findings = {name: Findings.load(study.findings(name)) for name in reports["id"].unique()}
    table = evaluate_writers(reports, findings, draws=profile.evaluation.bootstrap, seed=profile.seed)
    table["status"] = table["writer"].map(status)
    absent = [{"writer": name, "n": 0, "status": status[name]} for name in status if name not in set(table["writer"])]
    table = pd.concat([table, pd.DataFrame(absent)], ignore_index=True) if absent else table
    return table, evaluate_reports(reports, findings)[["id", "writer", *METRICS]]


def claims(scores: pd.DataFrame, overlaps: pd.DataFrame, reports: pd.DataFrame) -> pd.DataFrame:
    """The paper's claims in the abstract's words, beside what this run measured."""
    cams = overlaps[(overlaps["label"] == "all") & overlaps["architecture"].ne("none") & overlaps["threshold"].ne("oracle")]
    by_method = cams.groupby("method")["dice"].mean().sort_values(ascending=False)
    run = reports[reports["n"] > 0].set_index("writer")

    def leader(column: str, needed: tuple[str, ...]) -> str:
        missing = [name for name in needed if name not in run.index]
        scored = run[column].dropna() if len(run) else run
        best = f"among the writers run: {scored.idxmax()} ({scored.max():.2f})" if len(scored) else "no writer ran"
        return (f"not run: {', '.join(missing)}; " if missing else "") + best

    three = ("grok3", "mistral", "llama")
    rows = [
        ("InceptionResNetV2 classifies best", f"{scores.iloc[0]['architecture']} ({scores.iloc[0]['accuracy']:.3f} accuracy)"),
        ("Grad-CAM++ overlaps best", f"{by_method.index[0]} (mean Dice {by_method.iloc[0]:.3f} over networks and label-free rules)"),
        ("Grok3 leads lexical diversity", leader("mtld", three)),
        ("Grok3 leads coherence", leader("coherence", three)),
        ("LLaMA is the most readable", leader("flesch", three)),
    ]
    return pd.DataFrame(rows, columns=["claim of the abstract", "this run"])


def best_against_second(scores: pd.DataFrame, predictions: dict[str, pd.DataFrame], profile: Profile) -> pd.DataFrame:
    """McNemar's test between the two networks with the highest accuracy, on the same slices."""
    if len(scores) < 2:
        return pd.DataFrame({"comparison": ["one network only; nothing to compare"]})
    first, second = scores["architecture"].iloc[:2]
    test = mcnemar(predictions[first], predictions[second], bootstrap=profile.evaluation.bootstrap, seed=profile.seed)
    return pd.DataFrame([{"best": first, "second": second, **test}])


def hybrid_schematic(study: Study, profile: Profile, architecture: str) -> dict:
    """What `xai.plots.plot_hybrid` draws of a network: features from shallow to deep, decoder from deep to shallow."""
    facts = json.loads((study.model(architecture) / "network.json").read_text())
    size = profile.data.image_size
    deep_first = [tuple(facts["last"]), *map(tuple, facts["skips"])]
    features = [(name, channels, max(1, round(size / cells))) for name, cells, channels in dict.fromkeys(deep_first)]
    return {"features": features[::-1], "decoder": facts["decoder"], "image_size": size, "target_layer": facts["target_layer"]}


def reports_side_by_side(study: Study, profile: Profile) -> dict:
    """What `xai.plots.plot_reports` draws: the first reported finding that names a region (else the first), its prompt, and every writer's text or None.

    Where no writer ran, a finding of the study stands with its prompt and no text.
    """
    reports, status = load_reports(study, profile)
    reported = list(dict.fromkeys(reports["id"])) if len(reports) else sorted(path.stem for path in study.findings("x").parent.glob("*.json"))
    loaded = {name: Findings.load(study.findings(name)) for name in reported}
    identifier = next((name for name, findings in loaded.items() if findings.anatomy.regions), reported[0])
    findings = loaded[identifier]
    texts = {name: reports.loc[(reports["writer"] == name) & (reports["id"] == identifier), "text"] for name in status}
    prompt = "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in build_prompt(findings))
    return {
        "findings": shown(findings.model_dump_json(indent=1)), "prompt": prompt,
        "reports": {name: text.iloc[0] if len(text) else None for name, text in texts.items()},
    }  # fmt: skip


def prior_work(study: Study, scores: pd.DataFrame, published: Path = Path("book/prior_work.csv")) -> pd.DataFrame:
    """Table T9: published figures as cited in ``book/prior_work.csv``, and the best network of this run as the last row."""
    if not published.exists():
        raise StudyError(f"{published} not found; run this chapter from the top folder of the repository.")
    dataset = Dataset(study)
    best, head = scores.iloc[0], segmentation_of_best(study)
    source = " + ".join(sorted(dataset.index["source"].unique()))
    own = {
        "work": f"this run ({study.name}): {best['architecture']}", "data": source, "split": "by patient",
        "accuracy": f"{100 * best['accuracy']:.1f} %", "segmentation Dice": f"{head:.3f}", "reference": "table T3, T4",
    }  # fmt: skip
    table = pd.read_csv(published, dtype=str, keep_default_na=False)
    return pd.concat([table, pd.DataFrame([own])], ignore_index=True)


def segmentation_of_best(study: Study) -> float:
    """The highest mean Dice in ``segmentation.csv``."""
    return float(pd.read_csv(study.need(study.table("segmentation"), "07_evaluation"))["dice"].max())


def _segmentation_scores(study: Study, profile: Profile, architecture: str, *, positions: np.ndarray | None = None) -> dict[str, float]:
    """Mean Dice, IoU and HD95 with intervals, over the test split or some positions in it."""
    dataset = Dataset(study)
    rows = dataset.rows("test")
    positions = np.arange(len(rows)) if positions is None else positions
    rows = rows[positions]
    predicted = np.load(study.need(study.test_masks(architecture), f"02_training of {architecture}"))[positions] > 0.5
    truth = np.asarray(dataset.masks[rows]) > 0
    patients = dataset.index["patient"].to_numpy()[rows]
    measures: dict[str, Callable] = {"dice": overlap.dice, "iou": overlap.iou, "hd95": overlap.hd95}
    result: dict[str, float] = {}
    for name, measure in measures.items():
        values = measure(predicted, truth)
        low, high = patient_interval(values, patients, draws=profile.evaluation.bootstrap, seed=profile.seed)
        result |= {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}
    return result


def _read_predictions(path: Path) -> pd.DataFrame:
    """A prediction table; an id or patient named "NA" stays a name, an empty probability becomes NaN."""
    missing = {f"prob_{label}": [""] for label in LABELS}
    return pd.read_csv(path, dtype={"id": str, "patient": str}, keep_default_na=False, na_values=missing)


def _joined(study: Study, profile: Profile, name: str) -> pd.DataFrame:
    return pd.concat(
        [pd.read_csv(study.need(study.saliency_table(architecture, name), f"03_saliency of {architecture}"))
         for architecture in profile.training.architectures], ignore_index=True,
    )  # fmt: skip
