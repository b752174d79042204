"""Forward passes with four multiplications instead of nine for each output of a 3 x 3 convolution, on a CPU.

Winograd's minimal filtering F(2 x 2, 3 x 3), Lavin & Gray 2016. TensorFlow computes such convolutions on a CPU at the rate of its matrix products, so nothing but
fewer products makes them faster; on a GPU, cuDNN does this by itself. Additions and halves are all that the transforms need: the result is as close to that
of exact arithmetic as the direct sum's.
"""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

LEAST_CHANNELS = 64, 192  # in and out each, and together; with fewer, moving the tiles takes longer than fewer products save
LEAST_SAVED = 50_000  # products for each pixel of the image: VGG saves some 170,000, no other of the nine more than 17,000, which nobody would notice
TILES_BYTES = 64 << 20  # transformed tiles in memory at once
FILTER = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)


class Winograd:
    """A network's forward pass, images (B, ...) -> output, in inference mode, with the 3 x 3 filters of the last `refresh`.

    Parameters
    ----------
    model : keras.Model
        Its layers are shared; those that do not pay are called as they are.
    """

    def __init__(self, model: keras.Model) -> None:
        self.filters: list[tuple[keras.layers.Conv2D, tf.Variable]] = []
        self.model = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=self._layer)
        self._call = tf.function(lambda images: self.model(images, training=False))
        self._count = 0

    @staticmethod
    def pays(model: keras.Model) -> bool:
        """Whether a network becomes noticeably faster, and runs where nothing else does this."""
        products = sum(5 * math.prod(layer.output.shape[1:3]) * math.prod(layer.kernel.shape[2:]) for layer in model.layers if _pays(layer))
        return products >= LEAST_SAVED * math.prod(model.input.shape[1:3]) and not tf.config.list_physical_devices("GPU")

    def refresh(self) -> Winograd:
        """Take over the filters as they are now; all other weights are shared with the network, and always are."""
        for layer, filters in self.filters:
            filters.assign(_transformed(layer.kernel.value))
        return self

    def __call__(self, images):
        """Fewer images than once before are filled up: each number of them is compiled anew."""
        count = len(images)
        self._count = max(count, self._count)
        return self._call(tf.pad(images, [[0, self._count - count], [0, 0], [0, 0], [0, 0]]))[:count]

    def _layer(self, layer: keras.layers.Layer, *inputs, **options):
        if not _pays(layer):
            return layer(*inputs, **options)
        filters = tf.Variable(_transformed(layer.kernel.value), trainable=False)
        self.filters.append((layer, filters))
        return _Convolution(layer, filters)(*inputs)


class _Convolution(keras.layers.Layer):
    """Stands for a `Conv2D` in the shared network."""

    def __init__(self, layer: keras.layers.Conv2D, filters: tf.Variable) -> None:
        super().__init__(name=f"{layer.name}_winograd")
        self._convolution = (layer, filters)  # in a tuple, so that Keras counts no weight twice

    def call(self, images):
        layer, filters = self._convolution
        count, height, width, channels = images.shape
        if count is None:  # when the network is put together, and no image has come yet
            return layer(images)
        bias = tf.convert_to_tensor(layer.bias.value) if layer.use_bias else tf.zeros(layer.filters)
        bytes_of_one = 16 * height * width * max(channels, layer.filters)
        step = 1 << max(0, int(math.log2(TILES_BYTES / bytes_of_one)))
        parts = []
        for start in range(0, count, step):
            products = [tf.matmul(tile, kernel) for tile, kernel in zip(_tiles(images[start : start + step]), tf.unstack(filters))]
            parts.append(_untiled(products, bias, height, width, layer.activation))
        return tf.concat(parts, axis=0) if len(parts) > 1 else parts[0]

    def compute_output_shape(self, shape):
        return self._convolution[0].compute_output_shape(shape)


def _pays(layer: keras.layers.Layer) -> bool:
    return (
        type(layer) is keras.layers.Conv2D and layer.kernel_size == (3, 3) and layer.strides == (1, 1) and layer.dilation_rate == (1, 1)
        and layer.padding == "same" and layer.groups == 1 and layer.data_format == "channels_last" and layer.compute_dtype == "float32"
        and min(layer.kernel.shape[2:]) >= LEAST_CHANNELS[0] and sum(layer.kernel.shape[2:]) >= LEAST_CHANNELS[1]
    )  # fmt: skip


def _transformed(kernel):
    """Kernels (3, 3, in, out) -> (16, in, out)."""
    columns = tf.reshape(kernel, (9, -1))
    return tf.reshape(tf.matmul(np.kron(FILTER, FILTER), columns), (16, *kernel.shape[2:]))


@tf.function(jit_compile=True)
def _tiles(images) -> list:
    """Images (B, H, W, C) -> sixteen arrays (B x tiles, C): each tile of 4 x 4, two apart, transformed along rows and columns."""
    _, height, width, channels = images.shape
    down, across = -(-height // 2), -(-width // 2)
    images = tf.pad(images, [[0, 0], [1, 2 * down + 1 - height], [1, 2 * across + 1 - width], [0, 0]])
    rows = _differences([images[:, start : start + 2 * down - 1 : 2] for start in range(4)])
    cells = [_differences([row[:, :, start : start + 2 * across - 1 : 2] for start in range(4)]) for row in rows]
    return [tf.reshape(cell, (-1, channels)) for row in cells for cell in row]


@tf.function(jit_compile=True)
def _untiled(products: list, bias, height: int, width: int, activation):
    """Sixteen arrays (B x tiles, K) -> activated outputs (B, H, W, K)."""
    down, across = -(-height // 2), -(-width // 2)
    cells = [tf.reshape(product, (-1, down, across, product.shape[1])) for product in products]
    columns = [_sums(cells[column::4]) for column in range(4)]  # of each, the upper and the lower output
    rows = [tf.stack(_sums([column[row] for column in columns]), axis=3) for row in range(2)]
    outputs = tf.reshape(tf.stack(rows, axis=2), (-1, 2 * down, 2 * across, cells[0].shape[3]))
    return activation(outputs[:, :height, :width] + bias)


def _differences(four: list) -> list:
    first, second, third, fourth = four
    return [first - third, second + third, third - second, second - fourth]


def _sums(four: list) -> list:
    first, second, third, fourth = four
    return [first + second + third, second - third - fourth]
