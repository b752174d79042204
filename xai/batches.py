"""Batches of a prepared dataset, in an order that only the seed decides, with paired augmentation."""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import ops

from xai.data.dataset import Dataset
from xai.paths import LABELS


class Batches(keras.utils.PyDataset):
    """Batches of a prepared dataset; the order of an epoch depends on the seed and the epoch's number alone.

    Yields images float32 (B, S, S, 1) and targets {"classification": (B,), "segmentation": (B, S, S, 1)}.
    """

    def __init__(self, dataset: Dataset, rows: np.ndarray, *, batch_size: int, heads, weights=None, augment=None, shuffle_seed=None):
        super().__init__()
        self.dataset, self.batch_size, self.heads = dataset, batch_size, tuple(heads)
        self.weights, self.augment = weights, augment
        self.order = rows if shuffle_seed is None else rows[np.random.default_rng(shuffle_seed).permutation(len(rows))]

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, number: int):
        rows = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        images = np.asarray(self.dataset.images[np.sort(rows)], dtype=np.float32)[np.argsort(np.argsort(rows)), ..., None]
        masks = np.asarray(self.dataset.masks[np.sort(rows)], dtype=np.float32)[np.argsort(np.argsort(rows)), ..., None]
        if self.augment is not None:
            images, masks = self.augment(images, masks)
        labels = self.dataset.labels(rows)
        targets = {"classification": labels, "segmentation": masks}
        targets = {head: targets[head] for head in self.heads}
        if self.weights is None:
            return images, targets
        weight = {"classification": self.weights[labels], "segmentation": np.ones(len(rows), np.float32)}
        return images, targets, {head: weight[head] for head in self.heads}


def make_augmentation(seed: int):
    """Paired augmentation of images and masks: rotation, shift, zoom; brightness and contrast on the image alone.

    KerasCV where it can be imported, the same layers of core Keras elsewhere (for example on JAX). No flips: left
    and right carry meaning for the later chapters, and no head stands upside down.

    Returns
    -------
    callable
        (images (B, S, S, 1) in 0-255, masks (B, S, S, 1) 0/1) -> the same, numpy arrays.
    """
    try:
        if keras.backend.backend() != "tensorflow":
            raise ImportError("KerasCV needs TensorFlow")
        import keras_cv.layers as source

        rotation = source.RandomRotation(0.03, fill_mode="constant", segmentation_classes=2, seed=seed)
    except ImportError:
        source = keras.layers
        rotation = source.RandomRotation(0.03, fill_mode="constant", seed=seed)
    shift = source.RandomTranslation(0.06, 0.06, fill_mode="constant", seed=seed + 1)
    zoom = source.RandomZoom((-0.1, 0.1), (-0.1, 0.1), fill_mode="constant", seed=seed + 2)
    draw = np.random.default_rng(seed + 3)

    def augment(images: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pair = {"images": images, "segmentation_masks": masks}
        for layer in (rotation, shift, zoom):
            pair = layer(pair, training=True)
        images = ops.convert_to_numpy(pair["images"])
        masks = (ops.convert_to_numpy(pair["segmentation_masks"]) > 0.5).astype(np.float32)
        gain = draw.uniform(0.85, 1.15, (len(images), 1, 1, 1))
        lift = draw.uniform(-12, 12, (len(images), 1, 1, 1))
        return np.clip(images * gain + lift, 0, 255).astype(np.float32), masks

    return augment


def class_weights(labels: np.ndarray) -> np.ndarray:
    """Inverse class frequency, mean one over slices; (classes,) float32."""
    counts = np.bincount(labels, minlength=len(LABELS))
    return (len(labels) / (len(LABELS) * np.maximum(counts, 1))).astype(np.float32)
