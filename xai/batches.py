"""Batches of a prepared dataset, in an order that only the seed decides, with paired augmentation."""

from __future__ import annotations

import math
import os
from functools import cache

import cv2
import keras
import numpy as np

from xai.data.dataset import Dataset
from xai.paths import LABELS
from xai.strong_augmentation import another_scanner, bend

SYMMETRIC_PLANES = ("axial", "coronal")
# Layers of KerasCV with their first arguments: shares of a turn and of the side.
GEOMETRY = {"RandomRotation": (0.04,), "RandomTranslation": (0.08, 0.08), "RandomZoom": ((-0.15, 0.15), (-0.15, 0.15))}
STRONG_GEOMETRY = {"RandomRotation": (0.07,), "RandomTranslation": (0.1, 0.1), "RandomZoom": ((-0.25, 0.25), (-0.25, 0.25))}
# Smallest and largest gamma, gain, and lift in grey values.
GREYS, STRONG_GREYS = ((0.75, 1.33), (0.85, 1.15), (-12, 12)), ((0.6, 1.67), (0.7, 1.3), (-20, 20))
QUEUE = 8  # batches made ahead, with JAX


class Batches(keras.utils.PyDataset):
    """Batches of a prepared dataset; order and augmentation of an epoch depend on the seed alone, never on what ran before.

    Yields images float32 (B, S, S, 1), targets {"classification": (B,), "segmentation": (B, S, S, 1)}, and with class
    `weights` a weight per slice and head. Batches may be asked for in any order and by several threads at once; `for_fit` makes the next
    ones while a step computes.

    With JAX, which compiles a step anew for each number of slices (on a GPU a minute and more), the last batch of a shuffled epoch is
    filled up with the first slices of its order.
    """

    def __init__(self, dataset: Dataset, rows: np.ndarray, *, batch_size: int, heads, weights=None, augment=None, shuffle_seed=None):
        compiled_by_shape = keras.backend.backend() == "jax"
        super().__init__(workers=_workers() if compiled_by_shape else 1, max_queue_size=QUEUE)
        self.dataset, self.batch_size, self.heads = dataset, batch_size, tuple(heads)
        self.weights, self.augment = weights, augment
        self.order = rows if shuffle_seed is None else rows[np.random.default_rng(shuffle_seed).permutation(len(rows))]
        if compiled_by_shape and shuffle_seed is not None:
            self.order = np.resize(self.order, len(self) * batch_size)
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
            images, masks = self.augment(images, masks, self.may_flip[rows], number)
        labels = self.numbers[rows]
        targets = {"classification": labels, "segmentation": masks}
        targets = {head: targets[head] for head in self.heads}
        if self.weights is None:
            return images, targets
        weight = {"classification": self.weights[labels], "segmentation": np.ones(len(rows), np.float32)}
        return images, targets, {head: weight[head] for head in self.heads}

    def for_fit(self):
        """What `keras.Model.fit` reads: with TensorFlow a `tf.data.Dataset` of these batches, else the batches themselves, made by threads.

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

    Rotation, shift and zoom are KerasCV's where it can be imported, and OpenCV's by the same ranges elsewhere (KerasCV needs TensorFlow). Left
    and right are swapped only where the caller allows it: in axial and coronal slices a mirrored head is as good a head, and what a
    tumour is does not depend on its side. The networks say nothing about sides; chapter 5 reads the side off the place of the mask
    in the unaugmented slice. Sagittal faces all look one way and stay so. No head is stood upside down.

    Parameters
    ----------
    strong : bool
        Wider ranges, and `xai.strong_augmentation`: for few patients and long trainings, which see every slice often.

    Returns
    -------
    callable
        (images (B, S, S, 1) in 0-255, masks (B, S, S, 1) 0/1, may_flip (B,) bool, number of the batch) -> images and masks, numpy arrays
        that depend on seed and number alone.
    """
    geometry, greys = (STRONG_GEOMETRY, STRONG_GREYS) if strong else (GEOMETRY, GREYS)
    warp = _warp(geometry)

    def augment(images: np.ndarray, masks: np.ndarray, may_flip: np.ndarray, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
        draw = np.random.default_rng([seed, number])
        flip = (may_flip & (draw.random(len(images)) < 0.5))[:, None, None, None]
        images, masks = (np.where(flip, array[:, :, ::-1], array) for array in (images, masks))
        moved = warp(np.concatenate([images, masks], axis=-1), draw)
        if strong:
            moved = bend(moved, draw)
        images, masks = np.clip(moved[..., :1], 0, 255), (moved[..., 1:] > 0.5).astype(np.float32)
        for image in images:
            gamma, gain, lift = (draw.uniform(low, high) for low, high in greys)
            # OpenCV raises to a power several times as fast as NumPy.
            image[..., 0] = cv2.pow(np.ascontiguousarray(image[..., 0]), gamma) * np.float32(255 ** (1 - gamma) * gain) + np.float32(lift)
        if strong:
            images = another_scanner(images, draw)
        return np.clip(images, 0, 255), masks

    return augment


def _warp(geometry: dict):
    """Rotation, shift and zoom of pictures (B, S, S, channels), float32, by a generator; all channels of a picture move as one."""
    try:
        if keras.backend.backend() != "tensorflow":
            raise ImportError("KerasCV needs TensorFlow")
        import keras_cv.layers
    except ImportError:
        return lambda pictures, draw: _opencv_warp(pictures, geometry, draw)

    def warp(pictures: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        moving, compiled = _kerascv_warp(keras_cv.layers, pictures.shape[1:], tuple(geometry.items()))
        # Seeds come with every call, so that no two augmentations share a random state.
        for layer, seed in zip(moving, draw.integers(1, 2**31, len(moving))):
            layer._random_generator.reset_from_seed(int(seed))
        return compiled(pictures).numpy()

    return warp


def _opencv_warp(pictures: np.ndarray, geometry: dict, draw: np.random.Generator) -> np.ndarray:
    """The three motions as one, so that a picture is interpolated once; positive zoom shrinks, as in Keras."""
    side = pictures.shape[1]
    turn, shift = geometry["RandomRotation"][0], geometry["RandomTranslation"]
    to_middle, back = np.eye(3), np.eye(3)
    to_middle[:2, 2], back[:2, 2] = -(side - 1) / 2, (side - 1) / 2
    moved = np.empty_like(pictures)
    for picture, out in zip(pictures, moved):
        angle = 2 * np.pi * draw.uniform(-turn, turn)
        motion = np.eye(3)
        motion[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        motion[:2, 2] = [side * draw.uniform(-limit, limit) for limit in reversed(shift)]
        zoom = np.diag([*(1 / (1 + draw.uniform(*limits)) for limits in reversed(geometry["RandomZoom"])), 1])
        out[...] = cv2.warpAffine(picture, (back @ zoom @ motion @ to_middle)[:2], (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return moved


@cache
def _kerascv_warp(source, shape: tuple[int, int, int], geometry: tuple):
    """The layers, and all of them compiled, in a third of the time they take one after the other, for pictures of one shape and any number.

    Another graph for another number would round otherwise.
    """
    import tensorflow

    moving = [getattr(source, name)(*how, fill_mode="constant", seed=1) for name, how in geometry]

    @tensorflow.function(input_signature=[tensorflow.TensorSpec((None, *shape), "float32")])
    def compiled(pictures):
        for layer in moving:
            pictures = layer(pictures, training=True)
        return pictures

    return moving, compiled


def _workers() -> int:
    """Threads that make batches: what the workflow gave this process, and at least two, as OpenCV and NumPy let go of Python's lock."""
    return max(2, min(8, int(os.environ.get("OMP_NUM_THREADS") or 0) or os.cpu_count() or 1))


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
    pairs = [(images, masks), *(augment(images, masks, may_flip, number) for number in range(draws))]
    return tuple(np.stack([pair[part][..., 0] for pair in pairs], axis=1) for part in (0, 1))


def class_weights(labels: np.ndarray) -> np.ndarray:
    """Inverse class frequency, mean one over slices; (classes,) float32."""
    counts = np.bincount(labels, minlength=len(LABELS))
    return (len(labels) / (len(LABELS) * np.maximum(counts, 1))).astype(np.float32)
