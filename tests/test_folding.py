"""Normalisations folded into convolutions: the same function, the weights of now, and nothing folded that is not its convolution's own."""

import keras
import numpy as np
import pytest
from keras import layers

from xai import network_split
from xai.folding import Folded, foldable
from xai.models import ARCHITECTURES, build_hybrid
from xai.saliency import ScoreCAM, Split, explain


def trained(model: keras.Model) -> keras.Model:
    """Weights as training leaves them: no normalisation is the identity."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.rsplit("/", 1)[-1] in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif weight.path.rsplit("/", 1)[-1] in ("beta", "moving_mean", "bias"):
            weight.assign(random.normal(0, 0.2, weight.shape))
    return model


def network(*chain: layers.Layer) -> keras.Model:
    image = keras.Input((9, 7, 4))
    output = image
    for layer in chain:
        output = layer(output)
    return trained(keras.Model(image, output))


IMAGES = np.random.default_rng(0).normal(size=(3, 9, 7, 4)).astype(np.float32)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda **o: layers.Conv2D(6, 3, padding="same", **o), lambda **o: layers.Conv2D(6, 3, strides=2, **o), lambda **o: layers.Conv2D(6, (1, 3), dilation_rate=2, **o),
        lambda **o: layers.Conv2D(6, 3, groups=2, **o), lambda **o: layers.DepthwiseConv2D(3, depth_multiplier=3, padding="same", **o),
        lambda **o: layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=2, **o),
    ],
    ids=["same", "strides", "dilation", "groups", "depthwise", "separable"],
)  # fmt: skip
def test_the_same_function(make, use_bias):
    model = network(make(use_bias=use_bias), layers.BatchNormalization(), layers.ReLU())
    folded = Folded(model)
    assert len(folded.pairs) == 1 and not any(isinstance(layer, layers.BatchNormalization) for layer in folded.model.layers)
    np.testing.assert_allclose(folded.model(IMAGES), model(IMAGES), atol=1e-5)


@pytest.mark.parametrize("options", [{"scale": False}, {"center": False}, {"epsilon": 0.3}], ids=str)
def test_normalisations_of_other_kinds(options):
    model = network(layers.Conv2D(6, 3), layers.BatchNormalization(**options))
    assert foldable(model)
    np.testing.assert_allclose(Folded(model).model(IMAGES), model(IMAGES), atol=1e-5)


@pytest.mark.parametrize(
    "chain",
    [
        (layers.BatchNormalization(), layers.Conv2D(6, 3)), (layers.Conv2D(6, 3, activation="relu"), layers.BatchNormalization()),
        (layers.Conv2D(6, 3), layers.ReLU(), layers.BatchNormalization()), (layers.Conv2D(6, 3), layers.LayerNormalization()),
        (layers.Conv2D(6, 3), layers.BatchNormalization(axis=1)), (layers.Conv2D(6, 3, dtype="mixed_bfloat16"), layers.BatchNormalization(dtype="mixed_bfloat16")),
    ],
    ids=["before", "activation inside", "activation between", "another kind", "another axis", "half precision"],
)  # fmt: skip
def test_what_cannot_be_folded(chain):
    assert not foldable(network(*chain))


def test_an_output_that_is_used_elsewhere_stays():
    image = keras.Input((9, 7, 4))
    convolved = layers.Conv2D(6, 3)(image)
    normalised = layers.BatchNormalization()(convolved)
    assert not foldable(keras.Model(image, layers.Add()([convolved, normalised])))
    assert not foldable(keras.Model(image, [convolved, normalised]))
    assert foldable(keras.Model(image, normalised))


def test_a_layer_that_is_called_twice_stays():
    image = keras.Input((9, 7, 4))
    convolution, normalisation = layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization()
    twice = convolution(layers.ReLU()(normalisation(convolution(image))))
    assert not foldable(keras.Model(image, twice))
    assert not foldable(keras.Model(image, normalisation(layers.Conv2D(4, 3)(normalisation(layers.Conv2D(4, 3)(image))))))


def test_weights_are_those_of_the_last_refresh():
    convolution, normalisation, last = layers.Conv2D(6, 3), layers.BatchNormalization(), layers.Conv2D(2, 1)
    model = network(convolution, normalisation, last)
    folded = Folded(model)
    before = np.asarray(folded.model(IMAGES))
    normalisation.moving_mean.assign(normalisation.moving_mean + 1)
    np.testing.assert_array_equal(folded.model(IMAGES), before)
    np.testing.assert_allclose(folded.refresh().model(IMAGES), model(IMAGES), atol=1e-5)
    last.bias.assign(last.bias + 1)
    np.testing.assert_allclose(folded.model(IMAGES), model(IMAGES), atol=1e-5)


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if not name.startswith("vgg")])
def test_the_nine_but_vgg(architecture):
    """The network is as it was afterwards, too, and can be folded again."""
    split = Split(trained(build_hybrid(architecture, image_size=80)), minimum_grid=3)
    images = np.random.default_rng(0).integers(0, 256, (2, 80, 80)).astype(np.float32)
    names, before = [layer.name for layer in split.source.layers], split.logits(images)
    assert len(foldable(split.model)) > 30
    many = split.logits_of_many(network_split.MANY_PIXELS)
    assert many != split.logits
    np.testing.assert_allclose(many(images), before, atol=1e-4 * np.abs(before).max())
    assert [layer.name for layer in split.source.layers] == names
    np.testing.assert_array_equal(split.logits(images), before)
    np.testing.assert_allclose(Split(split.source, minimum_grid=3).logits_of_many(network_split.MANY_PIXELS)(images), many(images), atol=1e-6 * np.abs(before).max())


def test_score_cam_is_the_same_either_way(monkeypatch):
    split = Split(trained(build_hybrid("efficientnetb0", image_size=32)), minimum_grid=1)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32)).astype(np.float32)
    asked = []
    usual = Folded.refresh
    monkeypatch.setattr(Folded, "refresh", lambda self: asked.append(1) or usual(self))
    maps = []
    for many in (10**12, 1):
        monkeypatch.setattr(network_split, "MANY_PIXELS", many)
        assert not asked
        maps += [found["scorecam"] for _, found in explain([ScoreCAM(split)], images)]
    assert asked and np.ptp(maps[0]) == 1
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-5)


def test_the_faster_form_is_for_many_images(monkeypatch):
    monkeypatch.setattr(network_split, "MANY_PIXELS", 100)
    split = Split(build_hybrid("efficientnetb0", image_size=32), minimum_grid=1)
    assert split.logits_of_many(60) == split.logits
    assert split.logits_of_many(39) == split.logits
    assert split.logits_of_many(1) != split.logits


def test_a_network_without_normalisations_is_asked_as_ever(monkeypatch):
    image = keras.Input((8, 8, 1))
    features = layers.Conv2D(3, 3, name="features")(image)
    split = Split(keras.Model(image, {"classification": layers.Dense(2)(layers.GlobalAveragePooling2D()(features))}), "features")
    images = np.random.default_rng(0).uniform(0, 255, (2, 8, 8)).astype(np.float32)
    asked, usual = [], split._logits
    monkeypatch.setattr(split, "_logits", lambda images: asked.append(1) or usual(images))
    np.testing.assert_array_equal(split.logits_of_many(network_split.MANY_PIXELS)(images), split.logits(images))
    assert len(asked) == 2
