"""TensorFlow and JAX: the same weights give the same outputs and gradients, and both learn."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from small_study import SIZE, write_small_study

SCRIPT = """
import json, shutil, sys
import numpy as np
from keras import ops
import keras
from xai import predicting, training
from xai.batches import make_augmentation
from xai.models import build_hybrid
from xai.paths import Study
from xai.profiles import Profile, save_profile
from xai.saliency import Split

folder, start = sys.argv[1:3]
result = {"backend": keras.backend.backend()}
images = np.random.default_rng(0).integers(0, 256, (3, 75, 75)).astype(np.float32)
# Random starts are compiled once for each shape, minutes in all, and the file replaces them: start from zeros.
starts = keras.initializers.VarianceScaling
random_start = starts.__call__
if result["backend"] == "jax":
    starts.__call__ = lambda self, shape, dtype=None: np.zeros(shape, "float32")
for architecture in ARCHITECTURES:
    model = build_hybrid(architecture, image_size=75, seed=3)
    file = f"{start}/{architecture}.weights.h5"
    if result["backend"] == "tensorflow":
        # A fresh normalisation passes everything on as it is; give every weight something to do.
        draw = np.random.default_rng(1)
        model.set_weights([np.abs(w) + draw.uniform(0.0, 0.1, w.shape).astype(w.dtype) if "variance" in v.path else w + draw.normal(0, 0.01, w.shape).astype(w.dtype)
                           for v, w in zip(model.weights, model.get_weights())])
        model.save_weights(file)
    model.load_weights(file)
    outputs = model(images[..., None], training=False)
    split = Split(model, minimum_grid=3)
    activations, gradients, logits = split.activations_and_gradients(images, None)
    np.savez(f"{folder}/{architecture}.npz", gradients=gradients, logits=logits, **{k: ops.convert_to_numpy(v) for k, v in outputs.items()})
starts.__call__ = random_start
study = Study(f"{folder}/study")
profile = Profile.model_validate({"seed": 5, "data": {"image_size": SIZE}, "training": {
    "architectures": ["vgg16"], "epochs": 3, "batch_size": 6, "learning_rate": 3e-4, "dropout": 0.0, "augment": True}})
save_profile(profile, study.profile)
history = training.fit(study, profile, "vgg16")
predicting.predict(study, profile, "vgg16")
if result["backend"] == "jax":  # what it says with the weights that TensorFlow learned
    shutil.copy(f"{start}/tensorflow/study/models/vgg16/model.weights.h5", study.weights("vgg16"))
    predicting.predict(study, profile, "vgg16")
result["loss"] = history["loss"].tolist()
augmented = make_augmentation(4)(np.full((8, 32, 32, 1), 50, np.float32), np.ones((8, 32, 32, 1), np.float32), np.ones(8, bool))
result["augmented"] = [list(map(float, (part.min(), part.max()))) for part in augmented]
print(json.dumps(result))
"""
ARCHITECTURES = ("vgg16", "efficientnetb0")  # no normalisation; depthwise convolutions, gates and normalisation
SCRIPT = SCRIPT.replace("SIZE", str(SIZE)).replace("ARCHITECTURES", str(ARCHITECTURES))


def _run(backend: str, folder, start) -> dict:
    environment = os.environ | {"KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    folder.mkdir()
    write_small_study(folder / "study")
    result = subprocess.run([sys.executable, "-c", SCRIPT, str(folder), str(start)], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Outputs of both backends: backend -> (what the script says, its folder)."""
    pytest.importorskip("jax")
    root = tmp_path_factory.mktemp("backends")
    return {name: (_run(name, root / name, root), root / name) for name in ("tensorflow", "jax")}


def test_each_ran_on_its_own_backend(both):
    assert {name: result["backend"] for name, (result, _) in both.items()} == {"tensorflow": "tensorflow", "jax": "jax"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_same_weights_give_the_same_outputs_and_gradients(both, architecture):
    """Differences are held against the size of the output: logits of an untrained network may be large."""
    first, second = (np.load(folder / f"{architecture}.npz") for _, folder in both.values())
    for name in ("classification", "segmentation", "logits", "gradients"):
        size = np.abs(first[name]).max()
        assert size > 0, name
        assert np.abs(first[name] - second[name]).max() <= 1e-4 * max(1.0, size), name
    assert np.ptp(first["segmentation"]) > 1e-3 and np.ptp(first["classification"]) > 1e-3


def test_both_learn(both):
    for name, (result, folder) in both.items():
        losses = result["loss"]
        assert np.isfinite(losses).all() and losses[-1] < losses[0], (name, losses)
        assert (folder / "study" / "models" / "vgg16" / "predictions.csv").exists()


def test_the_same_weights_predict_alike(both):
    first, second = (pd.read_csv(folder / "study" / "models" / "vgg16" / "predictions.csv") for _, folder in both.values())
    assert len(first) > 32 and len(first) % 32, "no last batch that is filled up"
    pd.testing.assert_frame_equal(first, second, rtol=0, atol=1e-4)


def test_augmentation_without_kerascv_keeps_the_ranges(both):
    for result, _ in both.values():
        (dark, bright), (low, high) = result["augmented"]
        assert 0 <= dark < bright <= 255 and (low, high) == (0.0, 1.0)
