"""What a trained network answers on the test split."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
from keras import ops

from xai.batches import SYMMETRIC_PLANES
from xai.data.dataset import Dataset
from xai.network_split import compiled_call
from xai.paths import LABELS, Study, atomic
from xai.profiles import Profile
from xai.training import load
from xai.views import VIEWS, averaged

AT_ONCE = 32


def predict(study: Study, profile: Profile, architecture: str, *, variant: str = "hybrid") -> pd.DataFrame:
    """Predict the test split; write `predictions.csv` and, with a segmentation head, `test_masks.npy`.

    With `training.test_time_augmentation` the answers are averages over `xai.views.VIEWS`; heatmaps explain the slice itself.

    Returns
    -------
    pandas.DataFrame
        id, label, patient, plane, prob_<class> for each class; one row per test slice in dataset order.
    """
    dataset = Dataset(study)
    model = load(study, profile, architecture, variant=variant)
    rows = dataset.rows("test")
    table = dataset.index.loc[rows, ["id", "label", "patient", "plane"]].reset_index(drop=True)
    may_mirror = table["plane"].isin(SYMMETRIC_PLANES).to_numpy()
    views = VIEWS if profile.training.test_time_augmentation else VIEWS[:1]

    # JAX compiles operation by operation otherwise, and all of them anew for another number of slices.
    compiled = compiled_call(model) if keras.backend.backend() == "jax" else None

    def answer(images: np.ndarray) -> dict[str, np.ndarray]:
        found = {}
        if compiled is None:
            outputs = model(images[..., None], training=False)
        else:
            filled = compiled(np.resize(images, (AT_ONCE, *images.shape[1:], 1)))
            outputs = {head: output[: len(images)] for head, output in filled.items()}
        if "classification" in outputs:
            found["classification"] = ops.convert_to_numpy(ops.softmax(ops.cast(outputs["classification"], "float32")))
        if "segmentation" in outputs:
            found["segmentation"] = ops.convert_to_numpy(ops.sigmoid(outputs["segmentation"]))[..., 0]
        return found

    probabilities, masks = [], []
    for start in range(0, len(rows), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        found = averaged(answer, np.asarray(dataset.images[rows[part]], dtype=np.float32), may_mirror[part], views)
        if "classification" in found:
            probabilities.append(found["classification"])
        if "segmentation" in found:
            masks.append(found["segmentation"].astype(np.float16))
    if masks:
        with atomic(study.test_masks(architecture, variant)) as temporary:
            np.save(temporary, np.concatenate(masks))
    if probabilities:
        table[[f"prob_{label}" for label in LABELS]] = np.concatenate(probabilities)
        with atomic(study.predictions(architecture, variant)) as temporary:
            table.to_csv(temporary, index=False)
    return table
