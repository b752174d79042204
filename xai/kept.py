"""Tables of a trained network, kept beside its weights until something that decides them changes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Callable

import pandas as pd

from xai.data.dataset import dataset_hash
from xai.paths import Study, atomic, write_text


def kept_table(study: Study, architecture: str, variant: str, name: str, make: Callable[[], pd.DataFrame], *, knobs: Any, modules: tuple[str, ...]) -> pd.DataFrame:
    """What `make` returned when it was last called for the same weights, slices, knobs and code; otherwise it is called.

    Parameters
    ----------
    name : str
        Of the CSV file beside the weights; ``.state`` beside it holds the SHA-256 of all that decides it.
    make : callable
        Returns a table; columns id and patient are text.
    knobs
        Parameters that decide the table, as JSON holds them.
    modules : tuple of str
        Files of this package whose code decides it.

    Raises
    ------
    StudyError
        If the network was not trained.
    """
    weights = study.need(study.weights(architecture, variant), f"02_training of {architecture}, variant {variant}")
    path = study.model(architecture, variant) / name
    code = [(Path(__file__).parent / module).read_bytes() for module in modules]
    parts = [weights.read_bytes(), dataset_hash(study).encode(), json.dumps(knobs, sort_keys=True).encode(), *code]
    mark, state = hashlib.sha256(b"\0".join(parts)).hexdigest(), path.with_suffix(".state")
    if path.exists() and state.exists() and state.read_text() == mark:
        return pd.read_csv(path, dtype={"id": str, "patient": str}, keep_default_na=False)
    table = make()
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)
    write_text(state, mark)
    return table
