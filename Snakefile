# The study as a graph: data -> nine trainings -> nine explanations -> masks -> places and findings -> reports -> evaluation
# -> book. `make book` runs it; `snakemake --config study=runs/quick --cores 2` does the same on a prepared environment.
#
# What makes a chapter run again
# - Its notebook, or a module of xai/ named in its `input`: each rule names exactly the modules it uses, so an edit in
#   xai/atlas.py never reaches a training. paths.py and profiles.py are left out: what they decide shows in names and `params`.
# - A knob of the profile: rules carry the sections they read in `params`, never the profile file.
# - An earlier chapter: a chapter's executed notebook is its output. Weights, heatmaps and reports are not declared as outputs, because
#   Snakemake deletes declared outputs before it runs a rule; xai keeps them under a fingerprint of what decides them, so that
#   rewording a chapter does not train its network again.

import os
from pathlib import Path

from xai import gpu
from xai.ablation import runs_of
from xai.paths import Study
from xai.profiles import study_profile
from xai.reports.writers import WRITERS as KNOWN_WRITERS

study = Study(config.get("study", "runs/quick"))
profile = study_profile(study.profile)
settings = profile.model_dump(mode="json")
ARCHITECTURES, WRITERS = profile.training.architectures, profile.reports.writers
# The first seed with both heads is the study's own training.
ABLATIONS = [f"{a}-{v}-{seed}" for a, v, seed in runs_of(profile) if (v, seed) != ("hybrid", profile.seed)]


def modules(*names):
    """Files of xai/ a rule depends on; a folder stands for all its modules and word lists. A list: Snakemake drops a generator's first item."""
    paths = [Path("xai") / name for name in names]
    return [str(file) for path in paths for file in (sorted([*path.rglob("*.py"), *path.rglob("*.yml")]) if path.is_dir() else [path.with_suffix(".py")])]


def knobs(*sections):
    return {section: settings[section] for section in ("seed", *sections)}


# Trainings side by side get an equal share of the cores; more threads than cores slow all of them down. `make book GPU=n` has n of them at a
# time, and leaves a share to chapters without networks.
PLACES = int(os.environ.get(gpu.AT_A_TIME) or 0)
SHARE = max(1, workflow.cores // (PLACES + 1 if PLACES else len(ARCHITECTURES))) if workflow.cores else 1
PAPERMILL = "python -m xai.chapter {input.notebook} {output.notebook} -p study {study.root} "
WITH_NETWORKS = "OMP_NUM_THREADS={threads} && export OMP_NUM_THREADS && " + PAPERMILL + "--gpu "
LOGS = str(study.root / "logs")
REFERENCES = [str(path) for path in sorted(Path("results").rglob("*.csv"))]
# The training chapter draws what the augmentation does, with plots.py; a change of a colour must not reach it, so plots are left out.
NETWORK = modules("models", "batches", "strong_augmentation", "losses", "training", "predicting", "network_split", "views", "data/dataset", "tables")
EXPLAIN = modules("models", "batches", "strong_augmentation", "losses", "training", "saliency", "network_split", "explaining", "shown", "checks", "implementations", "metrics/faithfulness", "metrics/stability", "metrics/overlap", "data/dataset", "plots", "plotting", "tables")
FACTS = ("metrics/facts", "metrics/claims", "metrics/numeric", "metrics/vocabulary", "metrics/clauses", "metrics/inventions")


wildcard_constraints:
    architecture="[a-z0-9]+",
    variant="[a-z_]+",
    seed="[0-9]+",
    writer="[a-z0-9_]+",


localrules: all, book


NOTEBOOKS = [
    study.notebook(name) for name in (
        "01_data", "02_leakage", "02_learning_curve", "02_second_head", "03_shuffled_labels", "04_thresholding", "05_atlas", "07_evaluation", *(f"02_training_{a}" for a in ARCHITECTURES),
        *(f"03_saliency_{a}" for a in ARCHITECTURES), *(f"06_reports_{w}" for w in WRITERS), *(f"ablation/{run}" for run in ABLATIONS),
    )
]


rule all:
    # Every chapter, so that one deleted by hand is made again; the mark of this study, because all studies share one rendered book.
    input: "book/_build/html/index.html", study.root / "book.rendered", NOTEBOOKS


rule prepare:
    message: "preparing the slices"
    input: modules("data")
    output: study.index
    log: f"{LOGS}/prepare.log"
    params: knobs=knobs("data")
    resources: mem_mb=1500, runtime=120
    shell: "python -m xai.data --study {study.root} 2> {log}"


rule chapter_data:
    message: "chapter 1: data"
    input:
        modules("data", "metrics/classification", "plots", "plotting", "tables"),
        notebook="notebooks/01_data.md",
        data=study.index,
    output:
        notebook=study.notebook("01_data"),
        table=study.table("dataset"),
    log: f"{LOGS}/01_data.log"
    resources: mem_mb=2000, runtime=60
    shell: PAPERMILL + "2> {log}"


rule training:
    message: "chapter 2: training {wildcards.architecture}"
    input:
        NETWORK,
        notebook="notebooks/02_training.md",
        data=study.index,
    output:
        notebook=study.notebook("02_training_{architecture}"),
    log: f"{LOGS}/02_training_{{architecture}}.log"
    params: knobs=knobs("training")
    threads: SHARE
    resources: mem_mb=4000, runtime=1440, gpu=1
    shell: WITH_NETWORKS + "-p architecture {wildcards.architecture} 2> {log}"


rule leakage:
    message: "chapter 2: what a split by slice pretends"
    input:
        NETWORK,
        REFERENCES,
        modules("leakage", "scores", "reference", "metrics/overlap", "metrics/intervals", "plots", "plotting"),
        notebook="notebooks/02_leakage.md",
        data=study.index,
    output:
        notebook=study.notebook("02_leakage"),
    log: f"{LOGS}/02_leakage.log"
    params: knobs=knobs("training")
    threads: SHARE
    resources: mem_mb=4000, runtime=1440, gpu=1
    shell: WITH_NETWORKS + "2> {log}"


rule learning_curve:
    message: "chapter 2: would more patients help"
    input:
        NETWORK,
        REFERENCES,
        modules("learning_curve", "scores", "reference", "metrics/overlap", "metrics/intervals", "plots", "plotting"),
        [study.notebook(f"02_training_{profile.training.curve.architecture}")] if profile.training.curve.architecture in ARCHITECTURES else [],
        notebook="notebooks/02_learning_curve.md",
        data=study.index,
    output:
        notebook=study.notebook("02_learning_curve"),
    log: f"{LOGS}/02_learning_curve.log"
    params: knobs=knobs("training")
    threads: SHARE
    resources: mem_mb=4000, runtime=1440, gpu=1
    shell: WITH_NETWORKS + "2> {log}"


rule ablation:
    message: "chapter 2: training {wildcards.architecture}, {wildcards.variant}, seed {wildcards.seed}"
    input:
        NETWORK,
        modules("ablation"),
        notebook="notebooks/02_training.md",
        data=study.index,
    output:
        notebook=study.notebook("ablation/{architecture}-{variant}-{seed}"),
    log: f"{LOGS}/02_training_{{architecture}}-{{variant}}-{{seed}}.log"
    params: knobs=knobs("training")
    threads: SHARE
    resources: mem_mb=4000, runtime=1440, gpu=1
    shell:
        WITH_NETWORKS +
        "-p architecture {wildcards.architecture} -p variant {wildcards.variant} -p seed {wildcards.seed} 2> {log}"


rule second_head:
    message: "chapter 2: what the second head does"
    input:
        EXPLAIN,
        REFERENCES,
        modules("ablation", "scores", "masks", "occlusion", "outlines", "pieces", "reference", "thresholding", "metrics/intervals"),
        expand(study.notebook("ablation/{run}"), run=ABLATIONS),
        expand(study.notebook("02_training_{architecture}"), architecture=profile.training.ablation),
        notebook="notebooks/02_second_head.md",
        data=study.index,
    output:
        notebook=study.notebook("02_second_head"),
        table=study.table("ablation"),
    log: f"{LOGS}/02_second_head.log"
    params: knobs=knobs("training", "saliency", "masks", "evaluation")
    threads: SHARE
    resources: mem_mb=4000, runtime=240, gpu=1
    shell: WITH_NETWORKS + "2> {log}"


rule saliency:
    message: "chapter 3: explaining {wildcards.architecture}"
    input:
        EXPLAIN,
        notebook="notebooks/03_saliency.md",
        model=study.notebook("02_training_{architecture}"),
    output:
        notebook=study.notebook("03_saliency_{architecture}"),
    log: f"{LOGS}/03_saliency_{{architecture}}.log"
    params: knobs=knobs("saliency")
    threads: SHARE
    resources: mem_mb=4000, runtime=1440, gpu=1
    shell: WITH_NETWORKS + "-p architecture {wildcards.architecture} 2> {log}"


rule shuffled_labels:
    message: "chapter 3: heatmaps of networks that learned labels without meaning"
    input:
        NETWORK,
        REFERENCES,
        modules("shuffled_labels", "ablation", "scores", "reference", "saliency", "network_split", "metrics/faithfulness", "metrics/overlap", "metrics/intervals", "plots", "plotting"),
        [study.notebook(f"02_training_{profile.training.shuffled}")] if profile.training.shuffled in ARCHITECTURES else [],
        notebook="notebooks/03_shuffled_labels.md",
        data=study.index,
    output:
        notebook=study.notebook("03_shuffled_labels"),
    log: f"{LOGS}/03_shuffled_labels.log"
    params: knobs=knobs("training", "saliency", "evaluation")
    threads: SHARE
    resources: mem_mb=4000, runtime=1440, gpu=1
    shell: WITH_NETWORKS + "2> {log}"


rule thresholding:
    message: "chapter 4: from heatmaps to masks"
    input:
        modules("masks", "outlines", "thresholding", "percentile_slider", "interactive", "shown", "reference", "metrics/overlap", "metrics/intervals", "data/dataset", "plots", "plotting", "tables"),
        REFERENCES,
        expand(study.notebook("03_saliency_{architecture}"), architecture=ARCHITECTURES),
        notebook="notebooks/04_thresholding.md",
    output:
        notebook=study.notebook("04_thresholding"),
        overlap=study.table("overlap"),
        rules=study.table("threshold_rules"),
    log: f"{LOGS}/04_thresholding.log"
    params: knobs=knobs("masks", "evaluation")
    resources: mem_mb=4000, runtime=240
    shell: PAPERMILL + "2> {log}"


rule atlas:
    message: "chapter 5: from masks to anatomy"
    input:
        modules("atlas", "atlas_matching", "atlas_poses", "atlas_reading", "atlas_reference", "atlas_refinement", "atlas_regression", "atlas_validation", "atlas_viewer", "interactive", "shown", "locating", "findings", "metrics/overlap", "plots", "plotting", "tables", "data"),
        weights="xai/atlas_network.npz",
        notebook="notebooks/05_atlas.md",
        rules=study.table("threshold_rules"),
        masks=study.notebook("04_thresholding"),
    output:
        notebook=study.notebook("05_atlas"),
        regions=study.table("regions"),
        localisation=study.table("localisation"),
    log: f"{LOGS}/05_atlas.log"
    params: knobs=knobs("atlas")
    resources: mem_mb=4000, runtime=240
    shell: PAPERMILL + "2> {log}"


rule reports:
    message: "chapter 6: reports by {wildcards.writer}"
    input:
        modules("reports", "reporting", "findings", "tables", *FACTS),
        notebook="notebooks/06_reports.md",
        findings=study.notebook("05_atlas"),
    output:
        notebook=study.notebook("06_reports_{writer}"),
    log: f"{LOGS}/06_reports_{{writer}}.log"
    params:
        knobs=knobs("reports"),
        # A key that was set since the last run makes a writer run that was "not run".
        has_key=lambda wildcards: KNOWN_WRITERS[wildcards.writer].key_variable in (None, *os.environ),
    resources: mem_mb=2000, runtime=240
    shell: PAPERMILL + "-p writer {wildcards.writer} 2> {log}"


rule evaluation:
    message: "chapter 7: evaluation"
    input:
        modules("metrics", "planted", "reports", "findings", "evaluation", "reference", "plots", "plotting", "tables"),
        REFERENCES,
        expand(study.notebook("06_reports_{writer}"), writer=WRITERS),
        overlap=study.table("overlap"),
        prior_work="book/prior_work.csv",
        notebook="notebooks/07_evaluation.md",
    output:
        notebook=study.notebook("07_evaluation"),
        tables=[study.table(name) for name in (
            "architectures", "classification", "segmentation", "faithfulness", "reports", "prior_work")],
    log: f"{LOGS}/07_evaluation.log"
    params: knobs=knobs("evaluation")
    resources: mem_mb=3000, runtime=120
    shell: PAPERMILL + "2> {log}"


rule book:
    message: "rendering the book"
    input:
        modules("."),   # all of it: the API page reads every docstring
        [str(path) for path in sorted(Path("book").rglob("*")) if path.is_file() and not {"_build", "_source", "__pycache__"} & set(path.parts)],
        "_config.yml",
        NOTEBOOKS,
    output:
        "book/_build/html/index.html",
        mark=touch(study.root / "book.rendered"),
    params: study=str(study.root)   # another study renders the book anew
    log: f"{LOGS}/book.log"
    shell: "python -m xai.bookbuild --study {study.root} > {log} 2>&1"
