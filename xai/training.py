"""Fit the two-headed networks, and survive a kill."""

from __future__ import annotations

import ast
import fcntl
import hashlib
import json
import math
import os
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import keras
import numpy as np
import pandas as pd

from xai.batches import Batches, class_weights, make_augmentation
from xai.data.dataset import Dataset, dataset_hash
from xai.losses import MaskDice, mask_loss, smoothed_cross_entropy
from xai.models import DECODER_FILTERS, architecture_facts, build_hybrid, encoder_of, skip_layers, target_layer
from xai.paths import LABELS, Study, StudyError, atomic, write_text
from xai.profiles import Profile, Training


def limit_threads() -> None:
    """Keep TensorFlow to the threads that the workflow gave this process (OMP_NUM_THREADS); else all cores.

    Two trainings side by side, each with as many threads as there are cores, are slower than one after the other.
    Has no effect once TensorFlow has run an operation.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
    if threads and keras.backend.backend() == "tensorflow":
        import tensorflow

        try:
            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
            tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
        except RuntimeError:  # already running
            pass


def fit(study: Study, profile: Profile, architecture: str, *, variant: str = "hybrid") -> pd.DataFrame:
    """Train one network, or continue where a killed run stopped, and keep the weights best on validation.

    Best is the highest `val_score`: the mean of validation accuracy and validation Dice, of those the network has.

    With `cycles` above one the schedule starts again from the best weights (Loshchilov & Hutter 2017); a finished run whose profile
    asks for more cycles than it had goes on.

    A finished training with the same parameters, data and code is recognised by its fingerprint and only loaded.

    Returns
    -------
    pandas.DataFrame
        One row per epoch: epoch, seconds, and each loss and metric with its `val_` counterpart.
    """
    with _alone(study.model(architecture, variant)):
        return _fit(study, profile, architecture, variant)


def _fit(study: Study, profile: Profile, architecture: str, variant: str) -> pd.DataFrame:
    folder = study.model(architecture, variant)
    state_path, checkpoint = folder / "state.json", folder / "checkpoint.weights.h5"
    print_of_run = fingerprint(study, profile, architecture, variant)
    state = json.loads(state_path.read_text()) if state_path.exists() else {}
    if state.get("fingerprint") != print_of_run:
        state = {"fingerprint": print_of_run, "epoch": 0, "best": -math.inf, "best_epoch": 0, "history": [], "done": False}
    finished = (study.weights(architecture, variant), study.history(architecture, variant), study.seconds(architecture, variant))
    # "done" holds the number of cycles: asking for more of them goes on where the run ended.
    if int(state["done"]) >= profile.training.cycles and all(path.exists() for path in finished):
        return pd.DataFrame(state["history"])
    between_cycles = state["epoch"] % profile.training.epochs == 0
    if state["epoch"] and not (study.weights(architecture, variant).exists() and (checkpoint.exists() or between_cycles)):
        state |= {"epoch": 0, "best": -math.inf, "best_epoch": 0, "history": [], "done": False}

    training = profile.training
    dataset = Dataset(study)
    rows, labels = dataset.rows("train"), dataset.labels(dataset.rows("train"))
    model, network = _trainable(profile, architecture, variant, len(rows))
    if not state["epoch"] and training.start_from and variant == "hybrid":
        _start_from(model, Path(training.start_from), dataset)
    if state["epoch"] % training.epochs:
        model.load_weights(checkpoint)
    heads = model.output_names_in_order
    validation = Batches(dataset, dataset.rows("validation"), batch_size=training.batch_size, heads=heads).for_fit()
    epoch, total = state["epoch"], training.cycles * training.epochs
    while epoch < total:
        if _patience_over(epoch, state["best_epoch"], training):
            epoch += training.epochs - epoch % training.epochs
            continue
        if epoch and epoch % training.epochs == 0:  # a new cycle starts from the best weights, with a fresh optimiser
            model, network = _trainable(profile, architecture, variant, len(rows))
            network.load_weights(study.weights(architecture, variant))
        seed = [profile.seed, epoch]
        batches = Batches(
            dataset, rows, batch_size=training.batch_size, heads=heads, weights=class_weights(labels), shuffle_seed=seed,
            augment=make_augmentation(profile.seed * 1000 + epoch * 10, strong=training.augment == "strong") if training.augment else None,
        )  # fmt: skip
        seed_dropout(model, seed)
        start = time.perf_counter()
        # Keras would shuffle the batches once more, from a global random state that a resumed run does not share.
        logs = model.fit(
            batches.for_fit(), validation_data=validation, epochs=epoch + 1, initial_epoch=epoch, shuffle=False, verbose=0
        ).history  # fmt: skip
        record = {"epoch": epoch + 1, "seconds": round(time.perf_counter() - start, 2)}
        record |= {_short(name): float(values[-1]) for name, values in logs.items()}
        # Cross-entropy on validation rises with confidence long before accuracy falls, and would keep an early epoch.
        scores = [record[name] for name in ("val_accuracy", "val_dice") if name in record]
        record["val_score"] = sum(scores) / len(scores)
        print(_line(record, total), flush=True)
        if not math.isfinite(record["loss"] + record["val_loss"]):
            raise StudyError(
                f"{architecture} diverged in epoch {epoch + 1}: its loss is {record['loss']} and {record['val_loss']} on validation; "
                f"set a lower `training.learning_rates.{architecture}` in the profile."
            )
        if record["val_score"] > state["best"]:
            state |= {"best": record["val_score"], "best_epoch": epoch + 1}
            with atomic(study.weights(architecture, variant)) as temporary:
                network.save_weights(temporary)
        with atomic(checkpoint) as temporary:
            model.save_weights(temporary)
        # After the checkpoint, so that a kill between the two repeats one epoch instead of skipping it.
        epoch += 1
        state |= {"epoch": epoch, "history": [*state["history"], record]}
        write_text(state_path, json.dumps(state))
    history = pd.DataFrame(state["history"])
    with atomic(study.history(architecture, variant)) as temporary:
        history.to_csv(temporary, index=False)
    seconds = {"training": float(history["seconds"].sum()), "epochs": len(history), "best_epoch": state["best_epoch"],
               "parameters": model.count_params(), "threads": os.environ.get("OMP_NUM_THREADS", "all")}  # fmt: skip
    write_text(study.seconds(architecture, variant), json.dumps(seconds, indent=1))
    write_text(state_path, json.dumps(state | {"epoch": total, "done": training.cycles}))
    checkpoint.unlink(missing_ok=True)
    return history


def _trainable(profile: Profile, architecture: str, variant: str, slices: int) -> tuple[keras.Model, keras.Model]:
    """A compiled network, and the same layers without optimiser, whose weights file is a third as large."""
    model = compiled(build(profile, architecture, variant), profile, architecture, slices)
    # A file's moments and step count are skipped, with no more than a warning, by an optimiser without variables.
    model.optimizer.build(model.trainable_variables)
    return model, keras.Model(model.input, model.output)


def _start_from(model: keras.Model, weights: Path, dataset: Dataset) -> None:
    """Go on from a network of the same architecture, perhaps trained at another size: no weight depends on the size of the image.

    Where the file still lies in its study, no patient it learned from may be tested here; elsewhere that is up to the user.
    """
    if not weights.exists():
        raise StudyError(f"`training.start_from` is {weights}, which does not exist; give the model.weights.h5 of a finished training, or null.")
    former = Study(weights.absolute().parents[2])
    if former.index.exists():
        index, here = Dataset(former).index, dataset.index
        known = set(index.loc[index["split"] == "train", "patient"]) & set(here.loc[here["split"] != "train", "patient"])
        if known:
            raise StudyError(
                f"`training.start_from` is {weights}, whose study trained on {len(known)} of the patients that validate or test this one; give a network of the same split, or null."
            )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Skipping", category=UserWarning)  # Keras leaves out, with a warning, what a file lacks
            keras.Model(model.input, model.output).load_weights(weights)
    except (ValueError, KeyError, OSError, UserWarning) as error:
        raise StudyError(
            f"`training.start_from` is {weights}, which does not hold the weights of a two-headed {model.name}; "
            f"give the model.weights.h5 of a finished training of it, or null. ({str(error).splitlines()[0]})"
        ) from error


def build(profile: Profile, architecture: str, variant: str = "hybrid", *, initialise: bool = True) -> keras.Model:
    """The untrained network of a profile; without `initialise`, encoder weights are left for the caller to load."""
    training = profile.training
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(_precision(training, architecture))
    try:
        model = build_hybrid(
            architecture, image_size=profile.data.image_size, classes=len(LABELS), variant=variant,
            encoder_weights=training.encoder_weights, initialise=initialise, batch_norm_momentum=training.batch_norm_momentum,
            dropout=training.dropout, seed=profile.seed,
        )  # fmt: skip
    finally:
        keras.config.set_dtype_policy(usual)
    model.output_names_in_order = tuple(model.output)
    return model


def compiled(model: keras.Model, profile: Profile, architecture: str, slices: int) -> keras.Model:
    """Attach losses, metrics, and AdamW with linear warm-up and cosine decay (Loshchilov & Hutter 2017, 2019)."""
    training = profile.training
    steps = training.epochs * math.ceil(slices / training.batch_size)
    warmup = max(1, int(training.warmup_share * steps))
    rate = _learning_rate(training, architecture)
    schedule = keras.optimizers.schedules.CosineDecay(
        rate * 0.05, decay_steps=max(1, steps - warmup), alpha=0.02, warmup_target=rate, warmup_steps=warmup
    )
    losses = {"classification": smoothed_cross_entropy(training.label_smoothing), "segmentation": mask_loss}
    weights = {"classification": 1.0, "segmentation": training.segmentation_weight}
    metrics = {"classification": [keras.metrics.SparseCategoricalAccuracy(name="accuracy")], "segmentation": [MaskDice(name="dice")]}
    heads = model.output_names_in_order
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=training.weight_decay, clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(
        optimizer,
        loss={head: losses[head] for head in heads}, loss_weights={head: weights[head] for head in heads},
        metrics={head: metrics[head] for head in heads},
        # XLA compiles for minutes on a CPU, longer than short runs train.
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto", run_eagerly=training.run_eagerly,
    )  # fmt: skip
    return model


def load(study: Study, profile: Profile, architecture: str, *, variant: str = "hybrid") -> keras.Model:
    """The trained network of a study."""
    weights = study.need(study.weights(architecture, variant), f"02_training of {architecture}")
    # Weights are float32 whatever the precision of the training; heatmaps and scores are computed in it.
    profile = profile.model_copy(update={"training": profile.training.model_copy(update={"precision": "float32", "precisions": {}})})
    model = build(profile, architecture, variant, initialise=False)
    model.load_weights(weights)
    return model


def describe(study: Study, profile: Profile, architecture: str, model: keras.Model, *, variant: str = "hybrid") -> dict:
    """Write and return the facts of a network: parameters, layers that feed the decoder, target layer of the heatmaps.

    Returns
    -------
    dict
        parameters, target_layer, grid (cells a side), channels, encoder_layers and skips [(name, size, channels)].
    """
    target = target_layer(model, minimum_grid=profile.saliency.minimum_grid, name=profile.saliency.target_layers.get(architecture))
    encoder = encoder_of(model)
    last = encoder.output.shape
    facts = {
        "parameters": model.count_params(), "target_layer": target.name, "grid": target.size, "channels": target.channels,
        "skips": skip_layers(encoder, profile.data.image_size), "last": (model.encoder_output, last[1], last[3]),
        "decoder": DECODER_FILTERS,
    }  # fmt: skip
    write_text(study.model(architecture, variant) / "network.json", json.dumps(facts, indent=1))
    return facts


def fingerprint(study: Study, profile: Profile, architecture: str, variant: str) -> str:
    """SHA-256 of all that decides a training: parameters, data, and the code of model and training.

    What other networks are told, and comments and docstrings, decide nothing.
    """
    architecture_facts(architecture)
    others = {
        "architectures", "ablation", "ablation_seeds", "leakage", "curve", "shuffled", "cycles", "learning_rate", "learning_rates", "precision",
        "precisions", "test_time_augmentation",
    }  # fmt: skip
    training = profile.training.model_dump(mode="json", exclude=others)
    own = [_learning_rate(profile.training, architecture), _precision(profile.training, architecture)]
    parts = [json.dumps([profile.seed, training, own, architecture, variant, profile.data.image_size], sort_keys=True), dataset_hash(study)]
    with study.masks.open("rb") as masks:  # the index names the images by their hashes, but not the masks
        parts.append(hashlib.file_digest(masks, "sha256").hexdigest())
    parts += [_code(Path(__file__).parent / name) for name in ("models.py", "batches.py", "strong_augmentation.py", "losses.py", "training.py")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _code(path: Path) -> str:
    """A module as Python reads it: without comments, docstrings and layout."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _learning_rate(training: Training, architecture: str) -> float:
    return training.learning_rates.get(architecture, training.learning_rate)


def _precision(training: Training, architecture: str) -> str:
    return training.precisions.get(architecture, training.precision)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process trains into `folder`; the system lifts the lock of a killed one."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def seed_dropout(model: keras.Model, seed: list[int]) -> None:
    """Set dropout's random states, which no weights file holds, so that a resumed epoch draws what it would have drawn."""
    for number, layer in enumerate(model.layers):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign(np.random.default_rng([*seed, number]).integers(2**31, size=2))


def _patience_over(epoch: int, best_epoch: int, training: Training) -> bool:
    """Has a cycle gone on for too long without a better score? It ends then; the next one starts afresh."""
    cycle_start = epoch - epoch % training.epochs
    return training.patience is not None and epoch - max(best_epoch, cycle_start) >= training.patience


def _short(name: str) -> str:
    """Keras' `val_classification_accuracy` -> `val_accuracy`; single-headed networks leave the head's name out anyway."""
    for metric in ("accuracy", "dice"):
        if name.endswith(metric):
            return f"val_{metric}" if name.startswith("val_") else metric
    return name


def _line(record: dict, epochs: int) -> str:
    shown = [f"{name} {record[name]:.3f}" for name in ("loss", "val_loss", "val_accuracy", "val_dice") if name in record]
    return f"epoch {record['epoch']}/{epochs}  {record['seconds']:.0f} s  " + "  ".join(shown)
