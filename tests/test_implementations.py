"""Other libraries' ways of Grad-CAM++ and Score-CAM: the transcription against the library itself, and what must hold by theory."""

import io
import warnings
from contextlib import redirect_stdout

import cv2
import numpy as np
import pytest
from scipy.ndimage import zoom
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.scorecam import Scorecam

from xai.implementations import IMPLEMENTATIONS, compare
from xai.models import build_hybrid
from xai.saliency import Evidence, GradCAM, Split

SIZE = 48


@pytest.fixture(scope="module")
def split():
    """A VGG16 with unconnected heads whose logits are of a few units, cut where gradients vary over the map."""
    model = build_hybrid("vgg16", image_size=SIZE, variant="two_heads", seed=1)
    kernel, bias = model.get_layer("classification").get_weights()
    deviation = Split(model, minimum_grid=2).logits(pictures()).std()
    model.get_layer("classification").set_weights([kernel * 2 / deviation, bias])
    return Split(model, "block3_conv3")


def pictures() -> np.ndarray:
    """Three smooth pictures, 0-255."""
    noise = np.random.default_rng(3).uniform(0, 255, (3, SIZE // 4, SIZE // 4)).astype(np.float32)
    return np.stack([cv2.resize(image, (SIZE, SIZE)) for image in noise])


@pytest.fixture(scope="module")
def evidence(split):
    activations, gradients, logits = split.activations_and_gradients(pictures(), None)
    assert np.ptp(gradients, axis=(1, 2)).max() > 0
    return Evidence(pictures(), activations, gradients, logits, logits.argmax(axis=1))


def way(method: str, library: str):
    [found] = [item for item in IMPLEMENTATIONS if item.method == method and item.library.startswith(library)]
    return found


def grid_of(evidence: Evidence, weights: np.ndarray) -> np.ndarray:
    """ReLU of the weighted sum, each map divided by its maximum."""
    raw = np.maximum(np.einsum("bhwk,bk->bhw", evidence.activations, weights), 0)
    return raw / raw.max(axis=(1, 2), keepdims=True)


def of_tf_keras_vis(visualiser, split: Split, evidence: Evidence, row: int, **options) -> np.ndarray:
    """Its map of one slice on the grid of the layer, divided by its maximum."""
    chosen = int(evidence.classes[row])
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls the network with a list
        cam = visualiser(split.model, clone=False)(
            lambda output: output[:, chosen], evidence.images[row : row + 1, ..., None], penultimate_layer=split.layer, expand_cam=False,
            normalize_cam=False, **options,
        )  # fmt: skip
    cam = np.asarray(cam[0] if isinstance(cam, list) else cam, np.float64)[0]
    return cam / cam.max()


def test_gradcam_is_that_of_tf_keras_vis(split, evidence):
    ours = grid_of(evidence, GradCAM(split).channel_weights(evidence))
    for row in range(len(ours)):
        np.testing.assert_allclose(of_tf_keras_vis(Gradcam, split, evidence, row), ours[row], atol=1e-5)


@pytest.mark.parametrize(("method", "visualiser"), [("gradcampp", GradcamPlusPlus), ("scorecam", Scorecam)])
def test_what_we_say_of_tf_keras_vis_is_what_it_does(split, evidence, method, visualiser):
    ours = grid_of(evidence, way(method, "tf-keras-vis").weights(split, evidence))
    equation = grid_of(evidence, way(method, "this study").weights(split, evidence))
    for row in range(len(ours)):
        theirs = of_tf_keras_vis(visualiser, split, evidence, row)
        np.testing.assert_allclose(theirs, ours[row], atol=1e-4)
        assert np.abs(theirs - equation[row]).max() > 1e-3, "a difference that makes none"


def test_corner_aligned_enlargement_is_that_of_pytorch():
    """`align_corners=True`: output i of n lies at i (m - 1) / (n - 1) of the m cells."""
    from xai.implementations import _corner_aligned

    grid = np.random.default_rng(0).random((5, 5)).astype(np.float32)
    places = np.arange(12) * 4 / 11
    low = np.minimum(places.astype(int), 3)
    share = places - low
    rows = grid[low] * (1 - share)[:, None] + grid[low + 1] * share[:, None]
    expected = rows[:, low] * (1 - share) + rows[:, low + 1] * share
    np.testing.assert_allclose(_corner_aligned(grid, (12, 12)), expected, atol=1e-6)
    np.testing.assert_allclose(zoom(grid, 12 / 5, order=1, mode="nearest"), expected, atol=1e-6)


def test_ways_of_gradcampp_by_hand():
    """One channel of 2 x 1 cells: activations 1 and 3, gradients 2 and -1; sum 4, mean 2."""
    evidence = Evidence(np.zeros((1, 4, 4), np.float32), np.array([1.0, 3.0]).reshape(1, 2, 1, 1), np.array([2.0, -1.0]).reshape(1, 2, 1, 1),
                        np.zeros((1, 3)), np.zeros(1, int))  # fmt: skip
    # Only the first cell has a positive gradient; its alpha by eq. 19 is 4 / (8 + 4 * 8); of the second 1 / (2 + 4 * -1).
    first, second = 4 / 40, 1 / -2
    expected = {
        "this study": first * 2, "tf-keras-vis": first / (first + second) * 2, "xplique": 4 / (8 + 2 * 8) * 2 / 2,
        "torchcam": 4 / (8 + (1 * 8 + 3 * -1)) * 2, "grad-cam": 4 / (40 + 1e-6) * 2,
    }  # fmt: skip
    for library, value in expected.items():
        assert way("gradcampp", library).weights(None, evidence) == pytest.approx(np.array([[value]])), library


def test_comparison_where_the_gradient_is_constant_and_where_it_is_not():
    model = build_hybrid("vgg16", image_size=SIZE, seed=2)
    table = compare(Split(model, minimum_grid=2), pictures())
    layers = list(dict.fromkeys(table["layer"]))
    assert layers[0] == "evidence" and len(layers) == 2 and layers[1] == "block2_conv2"
    ours = table[table["library"] == "this study"]
    assert ours["same_top"].tolist() == [1.0] * 3 and not ours["largest_difference"].any()
    assert set(table.loc[table["layer"] == layers[1], "method"]) == {"gradcampp"}
    # A constant gradient makes the sum of g^3 A the sum of A times g^3.
    torchcam = table[table["library"].str.startswith("torchcam")].set_index("layer")["largest_difference"]
    assert torchcam["evidence"] < 1e-5 < torchcam[layers[1]]
    assert len(table) == len(IMPLEMENTATIONS) + 5
