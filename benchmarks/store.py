"""Does the prepared store stream? Prepare and iterate 1,000, 10,000 and 100,000 slices, each in a process of its own.

    python benchmarks/store.py                  # needs 2 x size x size bytes of disk for each slice, 1.8 GB for 100,000 of 96 px
    python benchmarks/store.py --counts 1000 10000 --image-size 64

Prints, for each count, milliseconds per slice and memory above the interpreter with its imports. "Private" is memory that the process
alone holds; "resident" adds pages of the arrays' files, which the system keeps while nobody else wants the memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np


def memory() -> dict[str, float]:
    """Private and resident memory of this process now, MiB (Linux)."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"private": int(fields["RssAnon"].split()[0]) / 1024, "resident": int(fields["VmRSS"].split()[0]) / 1024}


class Peak(threading.Thread):
    """Sample the memory every 20 ms until stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.running = memory(), True

    def run(self) -> None:
        while self.running:
            self.peak = {key: max(value, self.peak[key]) for key, value in memory().items()}
            time.sleep(0.02)

    def stop(self) -> dict[str, float]:
        self.running = False
        self.join()
        return self.peak


def slices(count: int, size: int):
    """Slices 512 px wide as scanners give them: a noisy disc with a bright one in it. Two dozen are drawn once, so that what is timed is
    the store and not the drawing; a number in the corner makes each one different."""
    from xai.data.dataset import Slice
    from xai.paths import LABELS, PLANES

    draw = np.random.default_rng(0)
    rows, columns = np.ogrid[:512, :512]
    head = ((rows - 256) ** 2 + (columns - 256) ** 2 < 200**2) * np.uint8(90)
    drawn = []
    for y, x in draw.integers(120, 390, (24, 2)):
        mask = ((rows - y) ** 2 + (columns - x) ** 2 < 30**2).astype(np.uint8)
        drawn.append((head + draw.integers(0, 30, (512, 512)).astype(np.uint8) + mask * 80, mask))
    for number in range(count):
        image, mask = drawn[number % len(drawn)]
        image[0, :4] = np.array([number], np.uint32).view(np.uint8)
        yield Slice(f"s{number:06d}", image, mask, LABELS[number % 3], f"p{number // 6}", PLANES[number % 3])


def measure(count: int, size: int, folder: Path) -> dict:
    """Prepare and iterate `count` slices in this process."""
    from xai.batches import Batches
    from xai.data.dataset import Dataset, prepare
    from xai.paths import Study

    study = Study(folder)
    start_memory = memory()
    watch = Peak()
    watch.start()
    start = time.perf_counter()
    prepare(study, slices(count, size), count=count, image_size=size, source="benchmark", assign_splits=lambda index: ["train"] * len(index))
    prepared = time.perf_counter()
    dataset = Dataset(study)
    batches = Batches(dataset, dataset.rows("train"), batch_size=32, heads=("classification", "segmentation"), shuffle_seed=[0, 0])
    total = 0.0
    for number in range(len(batches)):
        images, targets = batches[number]
        total += float(images[0, 0, 0, 0]) + float(targets["segmentation"][0, 0, 0, 0])
    iterated = time.perf_counter()
    peak = watch.stop()
    return {
        "slices": count, "prepare_ms": 1000 * (prepared - start) / count, "iterate_ms": 1000 * (iterated - prepared) / count,
        **{f"{key}_mib": peak[key] - start_memory[key] for key in peak},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--folder", type=Path, default=None, help="where the stores are written and removed again; default: the temporary folder")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        import xai.batches  # noqa: F401  the imports count as the interpreter

        print(json.dumps(measure(options.measure, options.image_size, options.folder)))
        return
    print(f"{'slices':>8} {'prepare ms':>11} {'iterate ms':>11} {'private MiB':>12} {'resident MiB':>13}")
    for count in options.counts:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            command = [sys.executable, __file__, "--measure", str(count), "--image-size", str(options.image_size), "--folder", folder]
            result = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})
        if result.returncode:
            sys.exit(result.stderr)
        row = json.loads(result.stdout.strip().splitlines()[-1])
        print(f"{row['slices']:8d} {row['prepare_ms']:11.2f} {row['iterate_ms']:11.3f} {row['private_mib']:12.0f} {row['resident_mib']:13.0f}", flush=True)


if __name__ == "__main__":
    main()
