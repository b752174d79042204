"""Heatmaps of real networks against a second computation, in numpy alone, from exported activations and the class head's weights.

Both networks read their classes linearly from the mean of the target layer, so that the gradient of a logit is known without
differentiation: dS_c / dA_k^ij = w_ck / Z. Score-CAM is recomputed by asking the network itself about every masked slice.
"""

import cv2
import keras
import numpy as np
import pytest

from xai.models import build_hybrid
from xai.saliency import Split, explain, methods_for

SIZE, CLASSES = 75, np.array([2, 0])
METHODS = ("gradcam", "gradcampp", "scorecam")
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=[
    ("vgg16", "hybrid"), ("efficientnetb0", "hybrid"), ("densenet121", "hybrid"), ("inceptionv3", "hybrid"), ("resnet50v2", "hybrid"),
    ("efficientnetb0", "two_heads"), ("vgg19", "two_heads"),
], ids="-".join)  # fmt: skip
def case(request):
    """A network, two slices, their activations A (2, h, w, K) and head weights (K, 3), float64."""
    architecture, variant = request.param
    model = build_hybrid(architecture, image_size=SIZE, variant=variant, seed=4, batch_norm_momentum=0.5)
    images = np.random.default_rng(5).uniform(0, 255, (2, SIZE, SIZE)).astype(np.float32)
    for _ in range(4):  # running statistics near those of the slices, or signals die out in deep untrained networks
        model(images[..., None], training=True)
    kernel, bias = model.get_layer("classification").get_weights()
    split = Split(model, minimum_grid=2)
    kernel = kernel * 3 / split.logits(images).std()  # logits of a few units, as trained networks have
    model.get_layer("classification").set_weights([kernel, bias])
    activations, _, _ = split.activations_and_gradients(images, CLASSES)
    exported = keras.Model(model.input, model.get_layer(split.layer).output)(images[..., None], training=False)
    np.testing.assert_allclose(activations, exported, atol=1e-4 * np.abs(exported).max())
    return model, split, images, np.asarray(activations, np.float64), kernel.astype(np.float64)


def on_image(grid: np.ndarray, precision=np.float64) -> np.ndarray:
    """Bilinear to the size of the slice, then to [0, 1]."""
    large = cv2.resize(grid.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR).astype(precision)
    return (large - large.min()) / (large.max() - large.min()) if np.ptp(large) > 0 else np.zeros_like(large)


def numpy_weights(method: str, model, image: np.ndarray, activations: np.ndarray, head: np.ndarray, chosen: int) -> np.ndarray:
    """Channel weights (K,) of one slice by the equations."""
    cells = activations.shape[0] * activations.shape[1]
    slope = head[:, chosen] / cells
    if method == "gradcam":
        return slope
    if method == "gradcampp":
        denominator = 2 * slope**2 + activations.sum(axis=(0, 1)) * slope**3
        alpha = np.divide(slope**2, denominator, out=np.zeros_like(slope), where=denominator != 0)
        return cells * alpha * np.maximum(slope, 0)
    varied = [k for k in range(len(slope)) if np.ptp(activations[..., k]) > 0]
    # In single precision, as the slices are: an untrained network answers the last digit of a pixel with the fifth of a score.
    masked = np.stack([image * on_image(activations[..., k], np.float32) for k in varied])
    scores = np.concatenate([np.asarray(model(part[..., None], training=False)["classification"])[:, chosen] for part in np.array_split(masked, 8)])
    weights = np.zeros(len(slope))
    weights[varied] = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    return weights


@pytest.mark.parametrize("method", METHODS)
def test_heatmaps_equal_the_second_computation(case, method):
    model, split, images, activations, head = case
    channels = 24 if activations.shape[-1] > 128 else None  # all channels of the hybrids; of wide layers the most varied, to save minutes
    [(_, found)] = explain(methods_for(split, [method], scorecam_channels=channels), images, classes=CLASSES)
    for number, chosen in enumerate(CLASSES):
        grid = activations[number]
        if method == "scorecam" and channels:
            spread = grid.astype(np.float32).std(axis=(0, 1))
            kept = np.sort(np.argsort(-spread, kind="stable")[:channels])
            grid, weights_of = grid[..., kept], head[kept]
        else:
            weights_of = head
        weights = numpy_weights(method, model, images[number], grid, weights_of, chosen)
        expected = on_image(np.maximum(grid @ weights, 0))
        assert np.ptp(expected) == pytest.approx(1), "nothing to compare"
        np.testing.assert_allclose(found[method][number], expected, atol=TOLERANCE)
