"""A network whose batch normalisations are part of the convolutions before them: the same function, with fewer passes over memory.

In inference mode a normalisation is y = g x + b for each channel, and so g goes into the filters and b into the bias (Jacob et al. 2018, section 3.2).
"""

from __future__ import annotations

from collections import Counter

import keras
import tensorflow as tf
from keras import layers, ops

FOLDABLE = layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D


class Folded:
    """On TensorFlow, a second network for inference, `model`, with the filters and normalisations of the last `refresh`.

    Parameters
    ----------
    model : keras.Model
        It stays as it is, and shares the layers that nothing is folded into.
    """

    def __init__(self, model: keras.Model) -> None:
        self.pairs = foldable(model)
        self._convolutions: dict[str, layers.Layer] = {}
        normalisations = {normalisation.name for _, normalisation in self.pairs}
        self.model = keras.models.clone_model(
            model,
            clone_function=self._clone,
            call_function=lambda layer, *inputs, **options: inputs[0] if layer.name in normalisations else layer(*inputs, **options),
        )
        self._fold = tf.function(self._fold_all)  # hundreds of small sums, for each batch of slices anew
        self.refresh()

    def refresh(self) -> Folded:
        """Take over filters and normalisations as they are now; all other weights are shared with the network, and always are."""
        self._fold()
        return self

    def _fold_all(self) -> None:
        for convolution, normalisation in self.pairs:
            fold(convolution, normalisation, into=self._convolutions[convolution.name])

    def _clone(self, layer: layers.Layer) -> layers.Layer:
        if all(layer is not convolution for convolution, _ in self.pairs):
            return layer
        copy = type(layer).from_config(layer.get_config() | {"name": f"{layer.name}_folded", "use_bias": True})
        return self._convolutions.setdefault(layer.name, copy)


def foldable(model: keras.Model) -> list[tuple[layers.Layer, layers.BatchNormalization]]:
    """Convolutions whose output is normalised and goes nowhere else, each with its normalisation; both are called once."""
    nodes = [node for level in model._nodes_by_depth.values() for node in level]  # this model's alone: layers keep those of every model they are in
    calls = Counter(node.operation for node in nodes)
    takers = Counter(id(tensor) for node in nodes for tensor in node.input_tensors) + Counter(map(id, model.outputs))
    makers = {id(tensor): node.operation for node in nodes for tensor in node.outputs}
    pairs = []
    for node in nodes:
        layer = node.operation
        if type(layer) is layers.BatchNormalization and layer.axis in (-1, 3) and layer.compute_dtype == "float32":
            given = id(node.input_tensors[0])
            maker = makers[given]
            if (
                type(maker) in FOLDABLE and maker.activation is keras.activations.linear and maker.data_format == "channels_last"
                and maker.compute_dtype == "float32" and takers[given] == calls[maker] == calls[layer] == 1
            ):  # fmt: skip
                pairs.append((maker, layer))
    return pairs


def fold(convolution: layers.Layer, normalisation: layers.BatchNormalization, into: layers.Layer) -> None:
    """Give `into` the filters and the bias of the two as one."""
    gain = ops.rsqrt(normalisation.moving_variance.value + normalisation.epsilon)
    if normalisation.scale:
        gain = gain * normalisation.gamma.value
    shift = -normalisation.moving_mean.value * gain
    if normalisation.center:
        shift = shift + normalisation.beta.value
    if convolution.use_bias:
        shift = shift + convolution.bias.value * gain
    *filters, last = [weight.value for weight in convolution.weights if len(weight.shape) == 4]
    # The filters of a depthwise convolution are (rows, columns, in, multiplier), and its outputs in x multiplier.
    by_output = ops.reshape(gain, last.shape[2:]) if type(convolution) is layers.DepthwiseConv2D else gain
    for weight, value in zip(into.weights, [*filters, last * by_output, shift], strict=True):
        weight.assign(value)
