"""A network whose batch normalisations are part of the convolutions before them: the same function, with fewer passes over memory.

In inference mode a normalisation is y = g x + b for each channel, and so g goes into the filters and b into the bias (Jacob et al. 2018, section 3.2).
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

FOLDABLE = layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D


class Folded:
    """A second network for inference, `model`, with the filters and normalisations of the last `refresh`.

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
        self.refresh()

    def refresh(self) -> Folded:
        """Take over filters and normalisations as they are now; all other weights are shared with the network, and always are."""
        for convolution, normalisation in self.pairs:
            self._convolutions[convolution.name].set_weights(folded_weights(convolution, normalisation))
        return self

    def _clone(self, layer: layers.Layer) -> layers.Layer:
        if all(layer is not convolution for convolution, _ in self.pairs):
            return layer
        copy = type(layer).from_config(layer.get_config() | {"name": f"{layer.name}_folded", "use_bias": True})
        return self._convolutions.setdefault(layer.name, copy)


def foldable(model: keras.Model) -> list[tuple[layers.Layer, layers.BatchNormalization]]:
    """Convolutions whose output is normalised and goes nowhere else, each with its normalisation."""
    takers: dict[int, set[str]] = {}
    for layer in model.layers:
        for node in layer._inbound_nodes:
            for tensor in node.input_tensors:
                takers.setdefault(id(tensor), set()).add(layer.name)
    makers = {id(layer.output): layer for layer in model.layers if type(layer) in FOLDABLE}
    outputs = {id(tensor) for tensor in model.outputs}
    pairs = []
    for layer in model.layers:
        if type(layer) is layers.BatchNormalization and layer.axis in (-1, 3) and layer.compute_dtype == "float32":
            maker = makers.get(id(layer.input))
            if (
                maker is not None and maker.activation is keras.activations.linear and maker.data_format == "channels_last" and maker.compute_dtype == "float32"
                and takers[id(maker.output)] == {layer.name} and id(maker.output) not in outputs
            ):  # fmt: skip
                pairs.append((maker, layer))
    return pairs


def folded_weights(convolution: layers.Layer, normalisation: layers.BatchNormalization) -> list[np.ndarray]:
    """Filters and bias of the two as one; computed in double precision."""
    mean, variance = (np.asarray(moving, np.float64) for moving in (normalisation.moving_mean, normalisation.moving_variance))
    gain = (np.asarray(normalisation.gamma, np.float64) if normalisation.scale else 1.0) / np.sqrt(variance + normalisation.epsilon)
    shift = (np.asarray(normalisation.beta, np.float64) if normalisation.center else 0.0) - mean * gain
    *filters, last = [weights for weights in convolution.get_weights() if weights.ndim == 4]
    if convolution.use_bias:
        shift = shift + np.asarray(convolution.bias, np.float64) * gain
    # The filters of a depthwise convolution are (rows, columns, in, multiplier), and its outputs in x multiplier.
    by_output = gain.reshape(last.shape[2:]) if type(convolution) is layers.DepthwiseConv2D else gain
    return [*filters, last * by_output, shift]
