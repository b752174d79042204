"""From a profile's data section to the prepared dataset."""

from __future__ import annotations

import sys
from typing import Iterator

import numpy as np
import pandas as pd

from xai.data.brisc import check_brisc, read_brisc
from xai.data.dataset import Slice, prepare
from xai.data.figshare import FIGSHARE_URL, check_figshare, read_figshare
from xai.data.folder import check_folder, read_folder
from xai.data.phantom import make_phantom
from xai.data.split import check_classes, split_by_patient
from xai.paths import Study
from xai.profiles import Data, Profile

READERS = {"folder": read_folder, "figshare": read_figshare, "brisc": read_brisc}


def check_source(profile: Profile) -> pd.DataFrame | None:
    """Check a source before any expensive work; the checked index for a folder, None for the phantom.

    Raises
    ------
    StudyError
        One sentence about the first thing that is wrong.
    """
    index = _index(profile.data)
    if index is None:
        return None
    for sentence in index.attrs.get("skipped", ()):
        print(f"left out: {sentence}", file=sys.stderr)
    index = _limit(index, profile.data.slices_per_class, profile.seed)
    _splits(index, profile.data, profile.seed)
    return index


def prepare_source(study: Study, profile: Profile) -> None:
    """Prepare the dataset of a profile under `study.data`; see `xai.data.dataset.prepare`."""
    data = profile.data
    index = check_source(profile)
    if index is None:
        slices, count = _phantom(data, profile.seed), data.subjects * data.slices_per_subject
    else:
        slices, count = READERS[data.source](data.root, index), len(index)

    def assign(records: pd.DataFrame) -> np.ndarray:
        if index is not None and "split" in index:
            return index["split"].to_numpy()
        return _splits(records, data, profile.seed).to_numpy()

    prepare(study, slices, count=count, image_size=data.image_size, source=data.source, assign_splits=assign)


def _index(data: Data) -> pd.DataFrame | None:
    """The checked index of a source of files; None for the phantom."""
    if data.source == "phantom":
        return None
    if data.source == "figshare":
        address = FIGSHARE_URL if data.base_url == "published" else data.base_url
        return check_figshare(data.root, base_url=address, skip_bad=data.skip_bad)
    if data.source == "brisc":
        return check_brisc(data.root, skip_bad=data.skip_bad)
    return check_folder(data.root)


def _splits(index: pd.DataFrame, data: Data, seed: int) -> pd.Series:
    if "split" in index:
        check_classes(index, index["split"])
        return index["split"]
    return split_by_patient(
        index, seed=seed, validation_share=data.validation_share, test_share=data.test_share,
        validation_fold=data.validation_fold, test_fold=data.test_fold,
    )  # fmt: skip


def _limit(index: pd.DataFrame, slices_per_class: int | None, seed: int) -> pd.DataFrame:
    """Keep about `slices_per_class` slices of each class, spread over its patients.

    Slices are taken in turn, one from every patient, so that a small run still sees as many patients as it can.
    """
    if slices_per_class is None:
        return index
    shuffled = index.iloc[np.random.default_rng(seed).permutation(len(index))]
    turn = shuffled.groupby("patient").cumcount()
    ordered = shuffled.assign(_turn=turn).sort_values("_turn", kind="stable")
    return ordered.groupby("label").head(slices_per_class).drop(columns="_turn").sort_index()


def _phantom(data: Data, seed: int) -> Iterator[Slice]:
    phantom = make_phantom(
        subjects=data.subjects, slices_per_subject=data.slices_per_subject, image_size=data.image_size, seed=seed
    )
    for number, item in enumerate(phantom):
        yield Slice(f"p{number:05d}", item.image, item.mask, item.label, item.patient, item.plane, mni=item.mni)
