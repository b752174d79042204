"""What the two heads are trained to make small, and the overlap that is watched meanwhile."""

from __future__ import annotations

import keras
from keras import ops


def mask_loss(truth, logits):
    """Binary cross-entropy plus soft Dice, each averaged over the batch.

    Parameters
    ----------
    truth, logits : tensors (B, S, S, 1)
        Mask 0/1 and mask logits.

    Returns
    -------
    tensor (B,)
        Mean BCE of the slice + 1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1); Milletari et al. 2016 with a smoothing 1.
    """
    truth = ops.cast(truth, "float32")
    logits = ops.cast(logits, "float32")
    # max(z, 0) - z t + log(1 + exp(-|z|)): the stable form of binary cross-entropy on logits.
    entropy = ops.maximum(logits, 0.0) - logits * truth + ops.log1p(ops.exp(-ops.abs(logits)))
    probability = ops.sigmoid(logits)
    axes = (1, 2, 3)
    overlap = ops.sum(probability * truth, axis=axes)
    dice = (2.0 * overlap + 1.0) / (ops.sum(probability, axis=axes) + ops.sum(truth, axis=axes) + 1.0)
    return ops.mean(entropy, axis=axes) + 1.0 - dice


def smoothed_cross_entropy(smoothing: float):
    """Cross-entropy of class numbers (B,) with logits (B, classes), against 1 - s on the class and s spread over all (Szegedy et al. 2016)."""
    def loss(labels, logits):
        classes = logits.shape[-1]
        labels = ops.one_hot(ops.cast(ops.reshape(labels, (-1,)), "int32"), classes) * (1 - smoothing) + smoothing / classes
        return -ops.sum(labels * ops.log_softmax(ops.cast(logits, "float32")), axis=-1)

    return loss


@keras.saving.register_keras_serializable("xai")
class MaskDice(keras.metrics.Mean):
    """Mean Dice over slices of the mask logits cut at zero (probability one half)."""

    def update_state(self, truth, logits, sample_weight=None):
        truth = ops.cast(truth, "float32")
        found = ops.cast(logits > 0, "float32")
        axes = (1, 2, 3)
        overlap = ops.sum(found * truth, axis=axes)
        dice = (2.0 * overlap + 1e-6) / (ops.sum(found, axis=axes) + ops.sum(truth, axis=axes) + 1e-6)
        super().update_state(dice)
