"""A network cut in two at the layer whose activations the heatmaps weigh; what runs often is compiled once, on TensorFlow and JAX."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from xai.models import target_layer as find_target_layer
from xai.paths import StudyError

MANY_PIXELS = 5_000_000  # four slices of 96 px with 128 channels: from here on a faster forward pass is worth its second or two of compiling
PREDICTED = -1  # in place of a class: the one with the highest logit


class Split:
    """A network cut at its target layer: `features` (image -> activations) and `head` (activations -> logits).

    The cut is a layer without a path beside it, so the head can be differentiated on its own. What runs often is compiled once: on a CPU
    an EfficientNetB0 answers four to five times as fast as when Keras calls it layer by layer. New weights take effect at once.

    Parameters
    ----------
    model : keras.Model
        A hybrid of `xai.models.build_hybrid` with a classification head.
    target_layer : str, optional
        Any layer that separates image and class; default that of `xai.models.target_layer` for `minimum_grid`.
    """

    def __init__(self, model: keras.Model, target_layer: str | None = None, *, minimum_grid: int = 5) -> None:
        if "classification" not in model.output:
            raise StudyError(f"{model.name} has no classification head; class activation maps explain a class.")
        self.layer = find_target_layer(model, minimum_grid=minimum_grid, name=target_layer).name
        tensor = model.get_layer(self.layer).output
        self.source = model
        self.model = keras.Model(model.input, model.output["classification"])
        self.features = keras.Model(model.input, tensor)
        self.head = keras.Model(tensor, model.output["classification"])
        self._logits = compiled_call(self.model)
        self._many, self._pixels = None, 0
        self._evidence = compiled_gradients(self.features, self.head)

    def at(self, target_layer: str) -> Split:
        """The same network cut at another layer."""
        return Split(self.source, target_layer)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits (B, C) of images (B, S, S) in 0-255."""
        return ops.convert_to_numpy(self._logits(_batch(images)))

    def logits_of_many(self, pixels: int):
        """A function as `logits` for images with so many pixels in all: the same to rounding, with the weights of now.

        On TensorFlow a faster one, once `MANY_PIXELS` have been announced in this way.
        """
        self._pixels += pixels
        if keras.backend.backend() != "tensorflow" or self._pixels < MANY_PIXELS:
            return self.logits
        if self._many is None:
            self._many = self._faster()
        refresh, call = self._many
        refresh()
        return lambda images: ops.convert_to_numpy(call(_batch(images)))

    def _faster(self) -> tuple:
        """What takes over the weights of now, and a compiled forward pass."""
        from xai.folding import Folded, foldable
        from xai.winograd import Winograd

        if Winograd.pays(self.model):
            network = Winograd(self.model)
            return network.refresh, network
        if foldable(self.model):
            network = Folded(self.model)
            return network.refresh, compiled_call(network.model)
        return (lambda: None), self._logits

    def activations_and_gradients(self, images: np.ndarray, classes: np.ndarray | None):
        """Activations A and gradients dS_c/dA of the logit of each image's class; one forward and one backward pass.

        Parameters
        ----------
        images : (B, S, S) in 0-255
        classes : (B,) int, optional
            Class to explain; default the predicted one.

        Returns
        -------
        activations, gradients : (B, h, w, K) float32
        logits : (B, C) float32
        """
        wanted = np.full(len(images), PREDICTED) if classes is None else classes
        found = self._evidence(_batch(images), ops.convert_to_tensor(np.asarray(wanted, np.int32)))
        return tuple(np.asarray(ops.convert_to_numpy(x), np.float32) for x in found)


def compiled_call(model: keras.Model):
    """One compiled forward pass in inference mode, images (B, ...) -> output; any B without compiling anew on TensorFlow."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow

        signature = [tensorflow.TensorSpec(model.input.shape, "float32")]
        return tensorflow.function(lambda images: model(images, training=False), input_signature=signature)
    if backend == "jax":
        import jax

        call = jax.jit(lambda weights, states, images: model.stateless_call(weights, states, images, training=False)[0])
        return lambda images: call(*_values(model), images)
    raise StudyError(f"The Keras backend {backend!r} is not supported for heatmaps; use tensorflow or jax.")


def compiled_gradients(features: keras.Model, head: keras.Model):
    """Compiled: features once, then the gradient of each row's class logit through the head alone.

    Returns
    -------
    callable
        (images (B, S, S, 1), classes (B,) int or `PREDICTED`) -> activations (B, h, w, K), their gradients, logits (B, C).
    """
    backend = keras.backend.backend()
    count = head.output.shape[-1]

    def selected(logits, classes):
        return ops.one_hot(ops.where(classes == PREDICTED, ops.cast(ops.argmax(logits, axis=-1), "int32"), classes), count)

    if backend == "tensorflow":
        import tensorflow

        @tensorflow.function(input_signature=[tensorflow.TensorSpec(features.input.shape, "float32"), tensorflow.TensorSpec((None,), "int32")])
        def evidence(images, classes):
            activations = features(images, training=False)
            with tensorflow.GradientTape() as tape:
                tape.watch(activations)
                logits = head(activations, training=False)
                score = ops.sum(logits * ops.cast(selected(logits, classes), logits.dtype))
            return activations, tape.gradient(score, activations), logits

        return evidence
    if backend == "jax":
        import jax

        def score(activations, weights, states, classes):
            logits, _ = head.stateless_call(weights, states, activations, training=False)
            return ops.sum(logits * selected(logits, classes)), logits

        @jax.jit
        def evidence(of_features, of_head, images, classes):
            activations, _ = features.stateless_call(*of_features, images, training=False)
            gradients, logits = jax.grad(score, has_aux=True)(activations, *of_head, classes)
            return activations, gradients, logits

        return lambda images, classes: evidence(_values(features), _values(head), images, classes)
    raise StudyError(f"The Keras backend {backend!r} is not supported for heatmaps; use tensorflow or jax.")


def _values(model: keras.Model) -> tuple[list, list]:
    """Weights as they are now; a compiled JAX function would keep those of its first call."""
    return [v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]


def _batch(images: np.ndarray):
    return ops.convert_to_tensor(np.asarray(images, np.float32)[..., None])
