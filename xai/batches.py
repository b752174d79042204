"""Batches of a prepared dataset, in an order that only the seed decides, with paired augmentation."""

from __future__ import annotations

import math
from functools import cache

import keras
import numpy as np
from keras import ops

from xai.data.dataset import Dataset
from xai.paths import LABELS
from xai.strong_augmentation import another_scanner, bend

SYMMETRIC_PLANES = ("axial", "coronal")
# Layers of KerasCV and of core Keras alike, with their first arguments: shares of a turn and of the side.
GEOMETRY = {"RandomRotation": (0.04,), "RandomTranslation": (0.08, 0.08), "RandomZoom": ((-0.15, 0.15), (-0.15, 0.15))}
STRONG_GEOMETRY = {"RandomRotation": (0.07,), "RandomTranslation": (0.1, 0.1), "RandomZoom": ((-0.25, 0.25), (-0.25, 0.25))}
# Smallest and largest gamma, gain, and lift in grey values.
GREYS, STRONG_GREYS = ((0.75, 1.33), (0.85, 1.15), (-12, 12)), ((0.6, 1.67), (0.7, 1.3), (-20, 20))


class Batches(keras.utils.PyDataset):
    """Batches of a prepared dataset; order and augmentation of an epoch depend on the seed alone, never on what ran before.

    Yields images float32 (B, S, S, 1), targets {"classification": (B,), "segmentation": (B, S, S, 1)}, and with class
    `weights` a weight per slice and head. `for_fit` makes the next batches while a step computes, with TensorFlow.
    """

    def __init__(self, dataset: Dataset, rows: np.ndarray, *, batch_size: int, heads, weights=None, augment=None, shuffle_seed=None):
        super().__init__()
        self.dataset, self.batch_size, self.heads = dataset, batch_size, tuple(heads)
        self.weights, self.augment = weights, augment
        self.order = rows if shuffle_seed is None else rows[np.random.default_rng(shuffle_seed).permutation(len(rows))]
        self.may_flip = dataset.index["plane"].isin(SYMMETRIC_PLANES).to_numpy()
        self.numbers = dataset.labels(np.arange(len(dataset.index)))

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, number: int):
        rows = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        # A memory map is read fastest in the order of the file.
        ascending, back = np.unique(rows, return_inverse=True)
        images = np.asarray(self.dataset.images[ascending], dtype=np.float32)[back, ..., None]
        masks = np.asarray(self.dataset.masks[ascending], dtype=np.float32)[back, ..., None]
        if self.augment is not None:
            images, masks = self.augment(images, masks, self.may_flip[rows])
        labels = self.numbers[rows]
        targets = {"classification": labels, "segmentation": masks}
        targets = {head: targets[head] for head in self.heads}
        if self.weights is None:
            return images, targets
        weight = {"classification": self.weights[labels], "segmentation": np.ones(len(rows), np.float32)}
        return images, targets, {head: weight[head] for head in self.heads}

    def for_fit(self):
        """What `keras.Model.fit` reads: with TensorFlow a `tf.data.Dataset` of these batches, else the batches themselves.

        Keras would make the same dataset with automatic tuning, whose thread wakes at intervals that double up to 20 seconds and more; the
        end of every epoch waits for it to wake (TensorFlow 2.20), which costs short epochs up to half of their time.
        """
        if keras.backend.backend() != "tensorflow":
            return self
        import tensorflow as tf

        spec = tf.TensorSpec
        size = self.dataset.images.shape[1:]
        targets = {"classification": spec((None,), "int64"), "segmentation": spec((None, *size, 1), "float32")}
        signature = (spec((None, *size, 1), "float32"), {head: targets[head] for head in self.heads})
        if self.weights is not None:
            signature += ({head: spec((None,), "float32") for head in self.heads},)
        options = tf.data.Options()
        options.autotune.enabled = False
        batches = tf.data.Dataset.from_generator(lambda: (self[number] for number in range(len(self))), output_signature=signature)
        return batches.apply(tf.data.experimental.assert_cardinality(len(self))).prefetch(2).with_options(options)


def make_augmentation(seed: int, *, strong: bool = False):
    """Paired augmentation of images and masks: flip, rotation, shift, zoom; gamma, contrast and brightness on the image alone.

    KerasCV where it can be imported, the same layers of core Keras elsewhere (for example on JAX). Left and right are
    swapped only where the caller allows it: in axial and coronal slices a mirrored head is as good a head, and what a
    tumour is does not depend on its side. The networks say nothing about sides; chapter 5 reads the side off the place of the mask
    in the unaugmented slice. Sagittal faces all look one way and stay so. No head is stood upside down.

    Parameters
    ----------
    strong : bool
        Wider ranges, and `xai.strong_augmentation`: for few patients and long trainings, which see every slice often.

    Returns
    -------
    callable
        (images (B, S, S, 1) in 0-255, masks (B, S, S, 1) 0/1, may_flip (B,) bool) -> images and masks, numpy arrays.
    """
    geometry, greys = (STRONG_GEOMETRY, STRONG_GREYS) if strong else (GEOMETRY, GREYS)
    warp, draw = _warp(strong), np.random.default_rng(seed)

    def augment(images: np.ndarray, masks: np.ndarray, may_flip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        flip = (may_flip & (draw.random(len(images)) < 0.5))[:, None, None, None]
        images, masks = (np.where(flip, array[:, :, ::-1], array) for array in (images, masks))
        moved = warp(np.concatenate([images, masks], axis=-1), draw.integers(1, 2**31, len(geometry)))
        if strong:
            moved = bend(moved, draw)
        images, masks = np.clip(moved[..., :1], 0, 255), (moved[..., 1:] > 0.5).astype(np.float32)
        gamma, gain, lift = (draw.uniform(low, high, (len(images), 1, 1, 1)) for low, high in greys)
        images = 255 * (images / 255) ** gamma * gain + lift
        if strong:
            images = another_scanner(images, draw)
        return np.clip(images, 0, 255).astype(np.float32), masks

    return augment


def _warp(strong: bool):
    """Rotation, shift and zoom of pictures (B, S, S, channels) by three seeds; all channels of a picture move as one.

    KerasCV's layers are compiled once for the process: a third of the time they take one operation after the other. Seeds come with every
    call, so that no two augmentations share a random state.
    """
    geometry = STRONG_GEOMETRY if strong else GEOMETRY
    try:
        if keras.backend.backend() != "tensorflow":
            raise ImportError("KerasCV needs TensorFlow")
        import keras_cv.layers
    except ImportError:
        def warp(pictures: np.ndarray, seeds) -> np.ndarray:
            for (name, how), seed in zip(geometry.items(), seeds):
                pictures = getattr(keras.layers, name)(*how, fill_mode="constant", seed=int(seed))(pictures, training=True)
            return ops.convert_to_numpy(pictures)

        return warp

    def warp(pictures: np.ndarray, seeds) -> np.ndarray:
        moving, compiled = _kerascv_warp(keras_cv.layers, pictures.shape[1:], strong)
        for layer, seed in zip(moving, seeds):
            layer._random_generator.reset_from_seed(int(seed))
        return compiled(pictures).numpy()

    return warp


@cache
def _kerascv_warp(source, shape: tuple[int, int, int], strong: bool):
    """The layers, and all of them compiled for pictures of one shape and any number: another graph would round otherwise."""
    import tensorflow

    geometry = STRONG_GEOMETRY if strong else GEOMETRY
    moving = [getattr(source, name)(*how, fill_mode="constant", seed=1) for name, how in geometry.items()]

    @tensorflow.function(input_signature=[tensorflow.TensorSpec((None, *shape), "float32")])
    def compiled(pictures):
        for layer in moving:
            pictures = layer(pictures, training=True)
        return pictures

    return moving, compiled


def augmented_examples(dataset: Dataset, *, count: int = 3, draws: int = 4, seed: int = 0, strong: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Training slices as they are and as augmentation may show them, for looking at.

    Returns
    -------
    images, masks : arrays (count, 1 + draws, S, S)
        The first of each row is the original.
    """
    rows = dataset.balanced_rows("train", count)
    images, masks = (np.asarray(array[rows], np.float32)[..., None] for array in (dataset.images, dataset.masks))
    may_flip = dataset.index["plane"].iloc[rows].isin(SYMMETRIC_PLANES).to_numpy()
    augment = make_augmentation(seed, strong=strong)
    pairs = [(images, masks), *(augment(images, masks, may_flip) for _ in range(draws))]
    return tuple(np.stack([pair[part][..., 0] for pair in pairs], axis=1) for part in (0, 1))


def class_weights(labels: np.ndarray) -> np.ndarray:
    """Inverse class frequency, mean one over slices; (classes,) float32."""
    counts = np.bincount(labels, minlength=len(LABELS))
    return (len(labels) / (len(LABELS) * np.maximum(counts, 1))).astype(np.float32)
