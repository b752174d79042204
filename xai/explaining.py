"""Chapter 3's work: explain the slices of a study with one network."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Sequence

import keras
import numpy as np
from tqdm.auto import tqdm

from xai.data.dataset import Dataset, Rows, dataset_hash
from xai.paths import Study, atomic, write_text
from xai.profiles import Profile
from xai.saliency import Split, explain, methods_for
from xai.shown import cases_to_show

__all__ = ["cases_to_show", "explain_study", "load_heatmaps", "split_of"]

ROWS = 1024  # maps written at once while a file is laid out
SECONDS = 5  # between two notes of progress; a killed run repeats no more than that


def explain_study(study: Study, profile: Profile, architecture: str, model: keras.Model) -> Split:
    """Write the heatmaps of one network: of the test split for the study, of validation slices for choosing thresholds.

    ``saliency/<architecture>/<method>.npy`` is float16 (N_test, S, S) in [0, 1]; slices left out by the
    profile are NaN. ``validation_<method>.npy`` holds the rows that `dataset.balanced_rows` gives. Heatmaps already
    made by the same weights, code and parameters are kept.

    Returns
    -------
    Split
        The network cut at its target layer.
    """
    split = split_of(profile, architecture, model)
    state = study.heatmaps(architecture, "state").with_suffix(".json")
    mark = _fingerprint(study, profile, architecture)
    files = [study.heatmaps(architecture, f"{part}{name}") for part in ("", "validation_") for name in profile.saliency.methods]
    if state.exists() and json.loads(state.read_text()).get("fingerprint") == mark and all(path.exists() for path in files):
        return split
    dataset = Dataset(study)
    methods = methods_for(split, profile.saliency.methods, scorecam_channels=profile.saliency.scorecam_channels)
    test = dataset.rows("test")
    positions = np.searchsorted(test, dataset.balanced_rows("test", profile.saliency.test_slices))
    validation = dataset.balanced_rows("validation", profile.saliency.validation_slices)
    notes = []
    with tqdm(total=len(positions) + len(validation), desc=f"explaining with {architecture}", unit="slice") as bar:
        for prefix, rows, places, count in (("", test[positions], positions, len(test)), ("validation_", validation, np.arange(len(validation)), len(validation))):
            paths = {method.name: study.heatmaps(architecture, prefix + method.name) for method in methods}
            _write_maps(paths, methods, dataset.images, rows, places, count, mark=mark, bar=bar)
            notes.append(_progress(paths))
    write_text(state, json.dumps({"fingerprint": mark, "target_layer": split.layer,
                                  "scorecam_channels": profile.saliency.scorecam_channels}))  # fmt: skip
    for note in notes:
        note.unlink()
    return split


def split_of(profile: Profile, architecture: str, model: keras.Model) -> Split:
    """A study's network cut at the layer that its profile asks for."""
    return Split(model, profile.saliency.target_layers.get(architecture), minimum_grid=profile.saliency.minimum_grid)


def load_heatmaps(study: Study, architecture: str, methods: Sequence[str], positions: np.ndarray) -> dict[str, np.ndarray]:
    """Heatmaps float32 (n, S, S) of some positions within the test split, by method."""
    made_by = f"03_saliency of {architecture}"
    return {
        name: np.asarray(np.load(study.need(study.heatmaps(architecture, name), made_by), mmap_mode="r")[positions], np.float32)
        for name in methods
    }


def _write_maps(paths: dict[str, Path], methods, images: np.ndarray, rows: np.ndarray, places: np.ndarray, count: int, *, mark: str, bar: tqdm) -> None:
    """Explain `rows` of `images` batch by batch into files of `count` maps, at `places` in them; the rest is NaN.

    What is in memory does not grow with the number of slices. A killed run goes on after the last batch that its progress file names.
    """
    partial = {name: path.with_name(f".{path.stem}.partial.npy") for name, path in paths.items()}
    progress = _progress(paths)
    state = json.loads(progress.read_text()) if progress.exists() else {}
    state = state if state.get("mark") == mark else {}
    if state.get("finished") and all(path.exists() for path in paths.values()):
        bar.update(len(rows))
        return
    done = state.get("done", 0) if all(path.exists() for path in partial.values()) else 0
    if not done:
        for path in partial.values():
            _lay_out(path, (count, *images.shape[1:]))
    files = {name: np.lib.format.open_memmap(path, mode="r+") for name, path in partial.items()}
    bar.update(done)
    written = time.monotonic()
    for part, heatmaps in explain(methods, Rows(images, rows[done:])):
        for name, values in heatmaps.items():
            files[name][places[done:][part]] = values
        bar.update(part.stop - part.start)
        if time.monotonic() - written > SECONDS:
            for file in files.values():
                file.flush()
            write_text(progress, json.dumps({"mark": mark, "done": done + part.stop}))
            written = time.monotonic()
    for name, path in paths.items():
        files[name].flush()
        partial[name].replace(path)
    write_text(progress, json.dumps({"mark": mark, "finished": True}))


def _progress(paths: dict[str, Path]) -> Path:
    first = next(iter(paths.values()))
    return first.with_name(f".{first.stem}.progress.json")


def _lay_out(path: Path, shape: tuple[int, ...]) -> None:
    """A file of float16 NaN; written, not mapped, because a disk that fills up under a mapped file kills the process."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False, "shape": shape})
        for start in range(0, shape[0], ROWS):
            file.write(np.full((min(ROWS, shape[0] - start), *shape[1:]), np.nan, np.float16).tobytes())


def _fingerprint(study: Study, profile: Profile, architecture: str) -> str:
    """SHA-256 of what decides the heatmaps: weights, slices, parameters, and the code of the methods."""
    saliency = profile.saliency.model_dump(include={"methods", "minimum_grid", "scorecam_channels", "test_slices", "validation_slices"})
    saliency["target_layer"] = profile.saliency.target_layers.get(architecture)
    parts = [study.weights(architecture).read_bytes(), dataset_hash(study).encode(), json.dumps(saliency, sort_keys=True).encode()]
    parts += [(Path(__file__).parent / name).read_bytes() for name in ("saliency.py", "network_split.py", "models.py")]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
