"""Reference results: the tables of a run on real slices, kept in the repository with where they come from.

    python -m xai.reference --study runs/figshare --to results/figshare

Only tables of numbers are kept. Images, masks, weights and everything else that shows or holds a slice stays in the study.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Iterator

import pandas as pd

from xai.data.dataset import dataset_hash
from xai.paths import VARIANTS, Study, StudyError, atomic, write_text
from xai.profiles import Profile, study_profile

# Tables without a row for each slice and without a patient's name or date.
TABLES = (
    "dataset", "audit", "shortcut", "intensity", "mask_statistics", "architectures", "classification", "classification_by", "segmentation",
    "segmentation_by", "segmentation_patients", "ablation", "ablation_gap", "leakage", "leakage_gap", "learning_curve", "shuffled_labels", "threshold_rules",
    "mask_steps", "overlap", "faithfulness", "explanation_checks", "localisation", "occlusion",
)  # fmt: skip
PACKAGES = ("tensorflow-cpu", "tensorflow", "jax", "keras", "keras-cv", "numpy", "opencv-python-headless", "scikit-learn")


def export(study: Study, profile: Profile, target: Path) -> list[str]:
    """Copy the tables that the study has into `target` and write ``provenance.json`` beside them.

    Returns
    -------
    list of str
        Names of the tables copied.

    Raises
    ------
    StudyError
        The study has none of them.
    """
    found = [name for name in TABLES if study.table(name).exists()]
    if not found:
        raise StudyError(f"{study.tables} holds none of the tables a reference keeps; run chapter 07_evaluation of that study first.")
    for name in found:
        with atomic(target / f"{name}.csv") as temporary:
            temporary.write_bytes(study.table(name).read_bytes())
    for old in target.glob("*.csv"):
        if old.stem not in found:
            old.unlink()  # of an earlier run: beside this provenance it would be false
    for architecture, variant in _trained(study, profile):
        with atomic(target / "histories" / f"{study.model(architecture, variant).name}.csv") as temporary:
            temporary.write_bytes(study.history(architecture, variant).read_bytes())
    write_text(target / "provenance.json", json.dumps(provenance(study, profile), indent=1))
    return found


def provenance(study: Study, profile: Profile) -> dict:
    """Where the tables of a study come from: code commit, profile, data hash, device, versions, date, seconds of each training.

    Paths are left out of the profile: they say nothing to anyone else.
    """
    settings = profile.model_dump(mode="json")
    settings["data"].pop("root")
    for weights in ("encoder_weights", "start_from"):
        path = settings["training"][weights]
        settings["training"][weights] = Path(path).name if path else None
    seconds = {}
    for architecture, variant in _trained(study, profile):
        if study.seconds(architecture, variant).exists():
            record = json.loads(study.seconds(architecture, variant).read_text())
            seconds[study.model(architecture, variant).name] = {key: record[key] for key in ("training", "epochs", "best_epoch", "threads")}
    return {
        "study": study.name, "date": date.today().isoformat(), "commit": commit(), "data_sha256": dataset_hash(study),
        "source": sorted(pd.read_csv(study.index, usecols=["source"])["source"].unique()),
        "device": device(), "python": platform.python_version(), "packages": _versions(), "training": seconds, "profile": settings,
    }  # fmt: skip


def _trained(study: Study, profile: Profile) -> list[tuple[str, str]]:
    """Networks of the study's own seed with a learning curve: the hybrids, then the ablation's other variants."""
    pairs = [(architecture, "hybrid") for architecture in profile.training.architectures]
    pairs += [(architecture, variant) for architecture in profile.training.ablation for variant in VARIANTS if variant != "hybrid"]
    return [pair for pair in pairs if study.history(*pair).exists()]


def device() -> str:
    """The processor, its cores, and a GPU where Keras sees one."""
    import os

    name = platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        names = [line.partition(":")[2].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")]
        name = names[0] if names else name
    text = f"{name}, {os.cpu_count()} cores"
    try:
        import keras

        gpus = [str(item) for item in keras.distribution.list_devices() if "gpu" in str(item).lower()]
    except (ImportError, RuntimeError, ValueError):
        gpus = []
    return f"{text}, {', '.join(gpus)}" if gpus else text


def references(folder: Path = Path("results")) -> dict[str, dict]:
    """Provenance of every reference in the repository, by the name of its folder."""
    return {
        path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/provenance.json"))
    }


def reference_table(name: str, table: str, folder: Path = Path("results")) -> pd.DataFrame | None:
    """A table of one reference, or None where that run did not make it."""
    path = folder / name / f"{table}.csv"
    return pd.read_csv(path) if path.exists() else None


def beside(*tables: str, folder: Path = Path("results")) -> Iterator[tuple[str, list[pd.DataFrame]]]:
    """Every reference that has all of these tables: a paragraph on where it comes from, and the tables."""
    for name, record in references(folder).items():
        found = [reference_table(name, table, folder) for table in tables]
        if all(table is not None for table in found):
            yield f"Reference {name}, not this run. {in_words(record)}", found


def scores(classification: pd.DataFrame, segmentation: pd.DataFrame) -> pd.DataFrame:
    """Accuracy, F1, AUC and Dice of each network in one table, best accuracy first; intervals in ``_low`` and ``_high``."""
    wanted = [f"{name}{end}" for name in ("accuracy", "f1", "auc") for end in ("", "_low", "_high")]
    heads = segmentation[["architecture", "dice", "dice_low", "dice_high"]]
    joined = classification[["architecture", *wanted]].merge(heads, on="architecture", how="outer")
    return joined.sort_values("accuracy", ascending=False, ignore_index=True)


def in_words(record: dict) -> str:
    """One paragraph on where a reference comes from, for the reader of its tables."""
    training, data = record["profile"]["training"], record["profile"]["data"]
    hours = sum(item["training"] for item in record["training"].values()) / 3600
    folds = "" if data["test_fold"] is None else f", test on published fold {data['test_fold']}, validation on fold {data['validation_fold']}"
    weights = training["encoder_weights"] or "none (from scratch)"
    before = f", going on from {training['start_from']}" if training.get("start_from") else ""
    views = ", answers averaged over seven views of each slice" if training.get("test_time_augmentation") else ""
    return (
        f"Run of {record['date']} on {', '.join(record['source'])} slices (data {record['data_sha256'][:12]}{folds}), {data['image_size']} px, at most "
        f"{training['epochs'] * training.get('cycles', 1)} epochs of batches of {training['batch_size']}, encoder weights {weights}{before}{views}, seed {record['profile']['seed']}; "
        f"{len(record['training'])} network{'s' * (len(record['training']) != 1)}, {hours:.1f} hours of training on {record['device']}; code {record['commit'][:12]}."
    )


def commit() -> str:
    """The commit of the code that runs, with "+changes" where files differ from it."""
    folder = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "--", "."], cwd=folder, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+changes" if changed.strip() else "")


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main(arguments: list[str] | None = None) -> int:
    """Export a study's tables; on bad input print one sentence and return 2."""
    parser = argparse.ArgumentParser(prog="python -m xai.reference", description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path, required=True, help="folder of a study that ran, such as runs/figshare")
    parser.add_argument("--to", type=Path, required=True, help="folder for the tables, such as results/figshare")
    options = parser.parse_args(arguments)
    study = Study(options.study)
    try:
        names = export(study, study_profile(study.profile), options.to)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(names)} tables of {study.name} are in {options.to}: {', '.join(names)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
