"""Convolutions with fewer products: as exact as the direct sum, with the weights of now, and asked by Score-CAM where it pays."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from xai import network_split, winograd
from xai.models import build_hybrid
from xai.saliency import ScoreCAM, Split, explain
from xai.winograd import Winograd


def network(height: int, width: int, *convolutions: layers.Layer) -> keras.Model:
    image = keras.Input((height, width, 64))
    output = image
    for convolution in convolutions:
        output = convolution(output)
    return keras.Model(image, output)


def exact(images: np.ndarray, layer: layers.Conv2D) -> np.ndarray:
    """The convolution in float64, cell by cell of the kernel."""
    kernel = layer.kernel.numpy().astype(np.float64)
    padded = np.pad(images.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    _, height, width, _ = images.shape
    total = sum(padded[:, row : row + height, column : column + width] @ kernel[row, column] for row in range(3) for column in range(3))
    return total + (layer.bias.numpy() if layer.use_bias else 0)


@pytest.mark.parametrize("height, width", [(2, 2), (8, 6), (7, 5), (1, 3)])
@pytest.mark.parametrize("use_bias", [True, False])
def test_as_exact_as_the_direct_sum(height, width, use_bias):
    layer = layers.Conv2D(128, 3, padding="same", use_bias=use_bias, bias_initializer="random_normal")
    model = network(height, width, layer)
    images = np.random.default_rng(0).normal(size=(3, height, width, 64)).astype(np.float32)
    fast = Winograd(model)
    assert len(fast.filters) == 1
    truth = exact(images, layer)
    errors = [np.abs(np.asarray(found) - truth).max() for found in (fast(images), model(images))]
    assert errors[0] <= max(2 * errors[1], 1e-5)


@pytest.mark.parametrize("name", ["relu", "linear", "tanh"])
def test_activation_and_groups_of_images(name, monkeypatch):
    """In groups of two images, of which the last is one alone."""
    model = network(6, 6, layers.Conv2D(128, 3, padding="same", activation=name))
    images = np.random.default_rng(0).normal(size=(5, 6, 6, 64)).astype(np.float32)
    monkeypatch.setattr(winograd, "TILES_BYTES", 2 * 16 * 6 * 6 * 128)
    np.testing.assert_allclose(Winograd(model)(images), model(images), atol=1e-5)


@pytest.mark.parametrize(
    "other",
    [
        layers.Conv2D(128, 3, padding="valid"), layers.Conv2D(128, 3, strides=2, padding="same"), layers.Conv2D(128, 5, padding="same"), layers.Conv2D(64, 3, padding="same"),
        layers.Conv2D(128, 3, padding="same", dilation_rate=2), layers.Conv2D(128, 3, padding="same", groups=2), layers.DepthwiseConv2D(3, padding="same"),
        layers.SeparableConv2D(128, 3, padding="same"), layers.Conv2D(128, 3, padding="same", dtype="mixed_bfloat16"),
    ],
    ids=lambda layer: f"{layer.name}-{layer.kernel_size}-{layer.padding}-{layer.dtype_policy.name}",
)  # fmt: skip
def test_other_convolutions_are_left_alone(other):
    model = network(8, 8, other)
    fast = Winograd(model)
    assert not fast.filters and not Winograd.pays(model)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 64)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(fast(images), np.float32), np.asarray(model(images), np.float32), atol=1e-5)


def test_weights_are_those_of_the_last_refresh():
    layer = layers.Conv2D(128, 3, padding="same")
    model = network(4, 4, layer)
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 64)).astype(np.float32)
    fast = Winograd(model)
    before = np.asarray(fast(images))
    layer.kernel.assign(2 * layer.kernel)
    np.testing.assert_array_equal(fast(images), before)
    np.testing.assert_allclose(fast.refresh()(images), 2 * before, atol=1e-5)


def test_fewer_images_compile_nothing_anew():
    model = network(4, 4, layers.Conv2D(128, 3, padding="same"))
    images = np.random.default_rng(0).normal(size=(5, 4, 4, 64)).astype(np.float32)
    fast = Winograd(model)
    whole = np.asarray(fast(images))
    for count in (1, 3):
        np.testing.assert_allclose(fast(images[:count]), whole[:count], atol=1e-6)
    assert fast._call.experimental_get_tracing_count() == 1


@pytest.fixture(scope="module")
def vgg() -> Split:
    return Split(build_hybrid("vgg16", image_size=32, seed=3), minimum_grid=3)


def test_which_of_the_nine_pay(vgg, monkeypatch):
    assert Winograd.pays(vgg.model)
    assert not Winograd.pays(Split(build_hybrid("efficientnetb0", image_size=32), minimum_grid=1).model)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"])
    assert not Winograd.pays(vgg.model)


def test_the_network_itself_stays_as_it_was(vgg):
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32)).astype(np.float32)
    names, before = [layer.name for layer in vgg.source.layers], vgg.logits(images)
    assert vgg.logits_of_many(network_split.MANY_PIXELS) != vgg.logits
    assert [layer.name for layer in vgg.source.layers] == names
    np.testing.assert_array_equal(vgg.logits(images), before)


def test_score_cam_is_the_same_either_way(vgg, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32)).astype(np.float32)
    asked = []
    usual = Winograd.__call__
    monkeypatch.setattr(Winograd, "__call__", lambda self, images: asked.append(len(images)) or usual(self, images))
    maps = []
    for many in (10**12, 1):
        monkeypatch.setattr(network_split, "MANY_PIXELS", many)
        assert not asked
        maps += [found["scorecam"] for _, found in explain([ScoreCAM(vgg)], images)]
    assert asked and np.ptp(maps[0]) == 1
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-5)
