"""The network that reads places in MNI152 from a slice, as it is trained; `xai.atlas_reading` applies it."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from xai.atlas_reading import FILTERS, PIXELS, SCALE_MM
from xai.atlas_synthesis import Slices
from xai.paths import PLANES


def build_network() -> keras.Model:
    """Input (B, PIXELS, PIXELS, 3), see `as_input`; outputs `cells` (B, CELLS, CELLS, 5): x, y, z over `SCALE_MM`, log of their expected
    error over `SCALE_MM`, logit of brain; and `plane` (B, 4): logits of `PLANES` and of no head."""
    picture = keras.Input((PIXELS, PIXELS, 3))
    x = layers.Concatenate()([picture, _Places()(picture)])
    x = _block(x, FILTERS[0], 2)
    kept = []
    for filters in FILTERS[1:]:
        x = _block(_block(x, filters, 2), filters)
        kept.append(x)
    top = _block(_block(x, FILTERS[3], 2), FILTERS[3])  # 3 x 3
    whole = layers.GlobalAveragePooling2D()(top)
    precise = keras.config.dtype_policy().variable_dtype  # a coordinate has more digits than features need
    plane = layers.Dense(len(PLANES) + 1, dtype=precise, name="plane")(layers.Dropout(0.1)(whole))
    x = layers.Concatenate()([x, layers.Resizing(x.shape[1], x.shape[2])(top)])
    x = _block(x, FILTERS[3])
    for skip, filters in ((kept[1], FILTERS[2]), (kept[0], FILTERS[1])):
        x = layers.Concatenate()([layers.Resizing(skip.shape[1], skip.shape[2])(x), skip])
        x = _block(x, filters)
    x = _block(x, FILTERS[1])
    return keras.Model(picture, {"cells": layers.Conv2D(5, 1, dtype=precise, name="cells")(x), "plane": plane})


@keras.saving.register_keras_serializable("xai")
class _Places(layers.Layer):
    """Row and column of every pixel, -1 to 1: where in the picture something stands says much about where it lies."""

    def call(self, picture):
        line = ops.linspace(-1.0, 1.0, PIXELS)
        rows, columns = ops.meshgrid(line, line, indexing="ij")
        places = ops.stack([rows, columns], axis=-1)[None]
        return ops.broadcast_to(places, (ops.shape(picture)[0], PIXELS, PIXELS, 2))

    def compute_output_shape(self, shape):
        return (shape[0], PIXELS, PIXELS, 2)


def _block(x, filters: int, stride: int = 1):
    x = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False)(x)
    return layers.Activation("relu")(layers.BatchNormalization(momentum=0.95)(x))


def cells_loss(truth, found):
    """Laplace likelihood of the coordinates with the expected error, counted in the brain and a little in the head; cross-entropy of brain.

    truth (B, CELLS, CELLS, 5): x, y, z over `SCALE_MM`, share of brain, share of head.
    """
    error = ops.mean(ops.abs(found[..., :3] - truth[..., :3]), axis=-1)
    spread = ops.clip(found[..., 3], -6.0, 2.0)
    weight = truth[..., 3] + 0.15 * ops.clip(truth[..., 4] - truth[..., 3], 0.0, 1.0)
    place = ops.sum(weight * (error * ops.exp(-spread) + spread), axis=(1, 2)) / (ops.sum(weight, axis=(1, 2)) + 5.0)
    # The plain error as well: a likelihood alone may give up on hard slices.
    plain = ops.sum(weight * error, axis=(1, 2)) / (ops.sum(weight, axis=(1, 2)) + 5.0)
    logit, brain = found[..., 4], truth[..., 3]
    entropy = ops.maximum(logit, 0.0) - logit * brain + ops.log1p(ops.exp(-ops.abs(logit)))
    return place + 5.0 * plain + ops.mean(entropy, axis=(1, 2))


def targets(slices: Slices) -> dict[str, np.ndarray]:
    """What `build_network` should answer."""
    cells = np.concatenate([slices.mni / SCALE_MM, slices.brain[..., None], slices.head[..., None]], axis=-1)
    return {"cells": cells.astype(np.float32), "plane": np.where(slices.plane < 0, len(PLANES), slices.plane)}


def folded(network: keras.Model) -> dict[str, np.ndarray]:
    """Weights of a trained network as `xai.atlas_reading.forward` wants them, float16: batch normalisation goes into kernel and bias."""
    # Every convolution feeds the next one, so the order of layers is that of the chain.
    convolutions = [layer for layer in network.layers if isinstance(layer, layers.Conv2D) and layer.name != "cells"]
    norms = [layer for layer in network.layers if isinstance(layer, layers.BatchNormalization)]
    found = {}
    for number, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True)):
        gamma, beta, mean, variance = (np.asarray(value) for value in norm.get_weights())
        scale = gamma / np.sqrt(variance + norm.epsilon)
        found |= {f"kernel_{number}": convolution.get_weights()[0] * scale, f"bias_{number}": beta - mean * scale}
    for name in ("cells", "plane"):
        kernel, bias = network.get_layer(name).get_weights()
        found |= {f"kernel_{name}": kernel.reshape(-1, kernel.shape[-1]), f"bias_{name}": bias}
    return {name: values.astype(np.float16) for name, values in found.items()}


def unfold(network: keras.Model, found: dict[str, np.ndarray], pictures: np.ndarray) -> None:
    """Give an untrained network the weights that `folded` made of another, so that it can go on learning.

    Batch normalisations get the statistics that their layers have on `pictures`, and the scale and shift that undo them: nothing changes but
    what learning does next. Weights of a network that was not told what is known start without it.
    """
    convolutions = [layer for layer in network.layers if isinstance(layer, layers.Conv2D) and layer.name != "cells"]
    norms = [layer for layer in network.layers if isinstance(layer, layers.BatchNormalization)]
    for number, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True)):
        kernel, bias = (np.asarray(found[f"{part}_{number}"], np.float32) for part in ("kernel", "bias"))
        if kernel.shape[2] + 1 == convolution.kernel.shape[2]:
            kernel = np.insert(kernel, 2, 0, axis=2)
        convolution.set_weights([kernel])
        norm.set_weights([np.full_like(bias, np.sqrt(1 + norm.epsilon)), bias, np.zeros_like(bias), np.ones_like(bias)])
    for name in ("cells", "plane"):
        layer = network.get_layer(name)
        layer.set_weights([np.reshape(np.asarray(found[f"{part}_{name}"], np.float32), weight.shape) for part, weight in zip(("kernel", "bias"), layer.weights)])
    values = keras.Model(network.input, [layer.output for layer in convolutions]).predict(pictures, batch_size=64, verbose=0)
    for norm, value in zip(norms, values):
        mean, variance, bias = value.mean(axis=(0, 1, 2)), value.var(axis=(0, 1, 2)), norm.get_weights()[1]
        norm.set_weights([np.sqrt(variance + norm.epsilon), mean + bias, mean, variance])
