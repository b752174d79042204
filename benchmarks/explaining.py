"""Do heatmaps of many slices take flat memory and linear time, and does a killed run go on? A thousand slices through the three methods.

    python benchmarks/explaining.py                                      # InceptionV3 at 96 px, Score-CAM with all channels
    python benchmarks/explaining.py efficientnetb0 --slices 4000 --channels 32

The network has random weights: what is measured does not depend on what it learned. Half-way the process is killed by SIGKILL and
started again. Printed are, for each tenth of the slices, milliseconds a slice and private memory, and after it how many slices the
second process made again, how much memory grew from the second tenth to the last, and whether every heatmap is there.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from store import slices

from xai.paths import Study

TENTHS = 10
POLL = 0.2  # seconds


def lay_out(study: Study, architecture: str, count: int, size: int, channels: int | None) -> None:
    """A study of `count` test slices and a network with random weights."""
    from xai.data.dataset import prepare
    from xai.profiles import Profile, save_profile
    from xai.training import build

    profile = Profile(
        data={"image_size": size}, training={"architectures": [architecture]},
        saliency={"minimum_grid": 7, "scorecam_channels": channels, "validation_slices": 3},
    )  # fmt: skip
    splits = ["validation"] * 12 + ["test"] * count
    prepare(study, slices(len(splits), size), count=len(splits), image_size=size, source="benchmark", assign_splits=lambda index: splits)
    save_profile(profile, study.profile)
    study.model(architecture).mkdir(parents=True)
    build(profile, architecture).save_weights(study.weights(architecture))


def explain_here(study: Study, architecture: str) -> None:
    """What the chapter does, in this process."""
    from xai.explaining import explain_study
    from xai.profiles import study_profile
    from xai.training import build

    profile = study_profile(study.profile)
    model = build(profile, architecture)
    model.load_weights(study.weights(architecture))
    explain_study(study, profile, architecture, model)


def follow(study: Study, architecture: str, *, until: int | None = None) -> list[tuple[int, float, float]]:
    """Run `explain_here` in a process of its own; kill it once `until` slices are noted as done.

    Returns
    -------
    list of (int, float, float)
        Slices noted as done, seconds since the first note, private MiB; one entry a note.
    """
    command = [sys.executable, __file__, architecture, "--explain", str(study.root)]
    progress, notes, start = study.heatmaps(architecture, "gradcam").with_name(".gradcam.progress.json"), [], 0.0
    seen = progress.read_text() if progress.exists() else ""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}) as process:
        while process.poll() is None:
            time.sleep(POLL)
            now = progress.read_text() if progress.exists() else ""
            if now in ("", seen):  # the note is removed once all is written
                continue
            seen, done = now, json.loads(now).get("done")
            if done is None:  # the test slices are finished; the few validation slices do not count
                continue
            start = start or time.perf_counter()
            notes.append((done, time.perf_counter() - start, private(process.pid)))
            if until and done >= until:
                process.send_signal(signal.SIGKILL)
                break
        process.wait()
    if process.returncode not in (0, -signal.SIGKILL):
        sys.exit(f"the process that explains ended with {process.returncode}")
    return notes


def private(pid: int) -> float:
    """Memory that a process alone holds now, MiB (Linux)."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architecture", nargs="?", default="inceptionv3")
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--channels", type=int, default=None, help="of Score-CAM; default: all")
    parser.add_argument("--explain", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.explain:
        return explain_here(Study(options.explain), options.architecture)
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Path(folder) / "many")
        lay_out(study, options.architecture, options.slices, options.image_size, options.channels)
        first = follow(study, options.architecture, until=options.slices // 2)
        second = follow(study, options.architecture)
        missing = sum(int(np.isnan(np.load(study.heatmaps(options.architecture, name))).any()) for name in ("gradcam", "gradcampp", "scorecam"))
    print(f"{options.architecture}, {options.slices} slices of {options.image_size} px, Score-CAM with {options.channels or 'all'} channels")
    print(f"{'slices':>14} {'ms a slice':>11} {'private MiB':>12}")
    table = []
    for notes in (first, second):
        edges = [note for number, note in enumerate(notes) if number == 0 or note[0] // (options.slices / TENTHS) != notes[number - 1][0] // (options.slices / TENTHS)]
        for before, after in zip(edges, edges[1:]):
            table.append((before[0], after[0], 1000 * (after[1] - before[1]) / (after[0] - before[0]), after[2]))
    for start, end, spent, memory in table:
        print(f"{start:6d} to {end:4d} {spent:11.0f} {memory:12.0f}")
    print(f"killed at {first[-1][0]}; the second process began there and made at most the slices after that note again")
    times, memory = np.array([row[2] for row in table]), np.array([row[3] for row in table])
    print(f"slowest tenth over fastest: {times.max() / times.min():.2f}; memory of the last tenth over the second: {memory[-1] / memory[1]:.2f}")
    print(f"methods with missing heatmaps: {missing} of 3")


if __name__ == "__main__":
    main()
