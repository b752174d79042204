"""Class activation maps: by hand on 2 x 2 cells, by loops over the equations, and by finite differences on a real network."""

import tracemalloc

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import layers

from xai.models import build_hybrid
from xai.saliency import (
    Evidence, GradCAM, GradCAMPlusPlus, ScoreCAM, Split, explain, methods_for, normalise, randomise_from_top, upsample,
)  # fmt: skip


def two_channel_model(head_weights: np.ndarray, *, flat: bool) -> keras.Model:
    """4 x 4 image -> 2 x 2 cells of two channels -> logits, all linear.

    Channel 0 is the upper left pixel of each 2 x 2 block of the image, channel 1 the lower right one. The head is a
    matrix on the channels' means, or on all 8 values if `flat`.
    """
    image = keras.Input((4, 4, 1))
    features = layers.Conv2D(2, 2, strides=2, use_bias=False, name="features")(image)
    pooled = layers.Flatten()(features) if flat else layers.GlobalAveragePooling2D()(features)
    logits = layers.Dense(head_weights.shape[1], use_bias=False, name="logits")(pooled)
    model = keras.Model(image, {"classification": logits})
    kernel = np.zeros((2, 2, 1, 2), np.float32)
    kernel[0, 0, 0, 0] = kernel[1, 1, 0, 1] = 1
    model.get_layer("features").set_weights([kernel])
    model.get_layer("logits").set_weights([head_weights])
    return model


def image_of(first, second) -> np.ndarray:
    """The image (1, 4, 4) whose channels are `first` and `second`, 2 x 2 each."""
    image = np.zeros((4, 4), np.float32)
    image[::2, ::2], image[1::2, 1::2] = first, second
    return image[None]


def evidence_of(split: Split, images: np.ndarray, classes) -> Evidence:
    classes = np.asarray(classes)
    activations, gradients, logits = split.activations_and_gradients(images, classes)
    return Evidence(images, activations, gradients, logits, classes)


IMAGE = image_of([[8, 4], [0, 0]], [[0, 2], [6, 0]])


# By hand


def test_grad_cam_by_hand():
    """Logit c = sum_k w_kc mean(A_k), so the weight of a channel is w_kc / 4.

    Class 0, w = (2, -1): 0.5 x A_0 - 0.25 x A_1 = [[4, 2 - 0.5], [-1.5 -> 0, 0]]. Class 1, w = (-4, 4): A_1 - A_0.
    """
    split = Split(two_channel_model(np.array([[2, -4], [-1, 4]], np.float32), flat=False), "features")
    images = np.concatenate([IMAGE, IMAGE])
    evidence = evidence_of(split, images, [0, 1])
    assert evidence.activations[0, ..., 0].tolist() == [[8, 4], [0, 0]] and evidence.activations[0, ..., 1].tolist() == [[0, 2], [6, 0]]
    assert evidence.logits[0] == pytest.approx([2 * 3 - 2, -4 * 3 + 4 * 2])
    np.testing.assert_allclose(evidence.gradients[0], np.broadcast_to([0.5, -0.25], (2, 2, 2)), rtol=1e-6)
    np.testing.assert_allclose(evidence.gradients[1], np.broadcast_to([-1.0, 1.0], (2, 2, 2)), rtol=1e-6)
    np.testing.assert_allclose(GradCAM(split).raw(evidence), [[[4, 1.5], [0, 0]], [[0, 0], [6, 0]]], rtol=1e-6)


def test_default_class_is_the_predicted_one():
    """Logits 4 and -4 for one image, -12 and 12 for the other."""
    split = Split(two_channel_model(np.array([[2, -4], [-1, 4]], np.float32), flat=False), "features")
    images = np.concatenate([IMAGE, image_of([[0, 0], [0, 0]], [[12, 12], [12, 12]])])
    assert split.logits(images).argmax(axis=1).tolist() == [0, 1]
    _, gradients, _ = split.activations_and_gradients(images, None)
    assert gradients[0, 0, 0] == pytest.approx([0.5, -0.25]) and gradients[1, 0, 0] == pytest.approx([-1, 1])


def test_grad_cam_plus_plus_by_hand():
    """With a constant gradient g: alpha = 1 / (2 + sum(A) g), w = 4 alpha ReLU(g).

    Class 0: channel 0 has g = 1/2 and sum 12: alpha = 1/8, w = 1/4; channel 1 has g < 0: w = 0. The map is A_0 / 4.
    """
    split = Split(two_channel_model(np.array([[2, -4], [-1, 4]], np.float32), flat=False), "features")
    evidence = evidence_of(split, IMAGE, [0])
    method = GradCAMPlusPlus(split)
    assert method.channel_weights(evidence)[0] == pytest.approx([0.25, 0.0])
    np.testing.assert_allclose(method.raw(evidence), [[[2, 1], [0, 0]]])


def test_score_cam_by_hand():
    """Image and map both have 2 x 2 pixels, so nothing is upsampled, and the logit is the sum of the image.

    Channels are the image, its negative and zero. H_0 = image / 4, so S(X o H_0) = (0 + 1 + 4 + 16) / 4 = 21/4;
    H_1 = 1 - H_0, so S(X o H_1) = 7 - 21/4; the third channel is constant.
    """
    image = keras.Input((2, 2, 1))
    features = layers.Conv2D(3, 1, use_bias=False, name="features")(image)
    total = layers.Dense(1, use_bias=False)(layers.Flatten()(layers.Conv2D(1, 1, use_bias=False, name="sum")(features)))
    model = keras.Model(image, {"classification": total})
    model.set_weights([np.float32([1, -1, 0]).reshape(1, 1, 1, 3), np.float32([1, 0, 0]).reshape(1, 1, 3, 1), np.ones((4, 1), np.float32)])
    picture = np.array([[[0, 1], [2, 4]]], np.float32)
    split = Split(model, "features")
    evidence = evidence_of(split, picture, [0])
    scores = np.exp([21 / 4, 7 - 21 / 4])
    assert ScoreCAM(split).channel_weights(evidence)[0] == pytest.approx([*(scores / scores.sum()), 0.0], rel=1e-5)


# Against loops over the published equations


@pytest.fixture(scope="module")
def curved_split():
    """A small network with a curved head: gradients differ from cell to cell and have both signs; channel 3 is constant."""
    keras.utils.set_random_seed(4)
    image = keras.Input((12, 12, 1))
    scaled = layers.Rescaling(1 / 64)(image)
    features = layers.Conv2D(7, 3, strides=2, padding="same", activation="silu", name="features")(scaled)
    deeper = layers.Conv2D(5, 3, activation="tanh")(features)
    logits = layers.Dense(3)(layers.Flatten()(deeper))
    model = keras.Model(image, {"classification": logits}, name="curved")
    kernel, bias = model.get_layer("features").get_weights()
    kernel[..., 3], bias[3] = 0, 0.5
    model.get_layer("features").set_weights([kernel, bias])
    return Split(model, "features")


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(8).uniform(0, 255, (5, 12, 12)).astype(np.float32)


CLASSES = np.array([0, 2, 1, 0, 2])


def test_grad_cam_plus_plus_against_equation_19(curved_split, pictures):
    """Channel by channel and cell by cell, with Y = exp(S) as published: its factor leaves one constant per image."""
    evidence = evidence_of(curved_split, pictures, CLASSES)
    found = GradCAMPlusPlus(curved_split).channel_weights(evidence)
    for image in range(len(pictures)):
        exponential = float(np.exp(evidence.logits[image, CLASSES[image]]))
        for channel in range(7):
            total, weight = float(evidence.activations[image, :, :, channel].sum(dtype=float)), 0.0
            for row in range(6):
                for column in range(6):
                    g = float(evidence.gradients[image, row, column, channel])
                    first, second, third = exponential * g, exponential * g**2, exponential * g**3
                    denominator = 2 * second + total * third
                    if denominator:
                        weight += second / denominator * max(first, 0)
            assert found[image, channel] * exponential == pytest.approx(weight, rel=1e-6)


def masked_scores(split: Split, image: np.ndarray, activations: np.ndarray, target: int) -> np.ndarray:
    """S_c(X o H_k) - S_c(0) for all channels at once, upsampled by TensorFlow; -inf for a constant channel."""
    masks = tf.image.resize(np.moveaxis(activations, -1, 0)[..., None], image.shape, method="bilinear").numpy()[..., 0]
    low, high = masks.min(axis=(1, 2), keepdims=True), masks.max(axis=(1, 2), keepdims=True)
    usable = (high > low)[:, 0, 0]
    masked = image * (masks[usable] - low[usable]) / (high - low)[usable]
    scores = np.full(len(masks), -np.inf)
    black = split.model(np.zeros((1, *image.shape, 1)), training=False).numpy()[0, target]
    scores[usable] = split.model(masked[..., None], training=False).numpy()[:, target] - black
    return scores


def test_score_cam_against_explicit_masked_inputs(curved_split, pictures):
    evidence = evidence_of(curved_split, pictures, CLASSES)
    found = ScoreCAM(curved_split).channel_weights(evidence)
    for image in range(len(pictures)):
        scores = masked_scores(curved_split, pictures[image], evidence.activations[image], CLASSES[image])
        expected = np.exp(scores) / np.exp(scores).sum()
        assert found[image] == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert found[image, 3] == 0.0 and found[image].sum() == pytest.approx(1)


def test_score_cam_of_chosen_channels(curved_split, pictures):
    """Only the channels of largest spread get a weight, renormalised among themselves."""
    evidence = evidence_of(curved_split, pictures, CLASSES)
    full = ScoreCAM(curved_split).channel_weights(evidence)
    part = ScoreCAM(curved_split, channels=3).channel_weights(evidence)
    for image in range(len(pictures)):
        widest = np.argsort(evidence.activations[image].std(axis=(0, 1)))[-3:]
        assert set(np.flatnonzero(part[image])) == set(widest)
        assert part[image, widest] == pytest.approx(full[image, widest] / full[image, widest].sum(), rel=1e-4)


@pytest.mark.parametrize("chunk", [1, 2, 4, 100])
def test_chunks_do_not_change_score_cam(curved_split, pictures, chunk):
    evidence = evidence_of(curved_split, pictures, CLASSES)
    expected = ScoreCAM(curved_split).channel_weights(evidence)
    np.testing.assert_allclose(ScoreCAM(curved_split, chunk=chunk).channel_weights(evidence), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="compiles each number of images anew, and gets full chunks")
def test_score_cam_asks_no_image_too_many(curved_split, pictures, monkeypatch):
    """In chunks of equal length, no longer than asked for."""
    evidence = evidence_of(curved_split, pictures, CLASSES)
    asked, usual = [], curved_split.logits
    monkeypatch.setattr(curved_split, "logits", lambda images: asked.append(len(images)) or usual(images))
    method = ScoreCAM(curved_split, chunk=5)
    method.channel_weights(evidence)
    assert sum(asked) == sum(len(method._usable(activations)) for activations in evidence.activations)
    assert max(asked) <= 5 and max(asked) - min(asked) <= len(asked)


def test_memory_of_score_cam_does_not_grow_with_the_channels():
    """512 masked inputs of 64 x 64 float32 would take 8.4 MB; a chunk of 4 takes 64 KiB."""

    def peak(channels: int) -> int:
        image = keras.Input((64, 64, 1))
        features = layers.Conv2D(channels, 16, strides=16, name="features")(image)
        model = keras.Model(image, {"classification": layers.Dense(2)(layers.GlobalAveragePooling2D()(features))})
        split = Split(model, "features")
        evidence = evidence_of(split, np.random.default_rng(0).uniform(0, 255, (1, 64, 64)).astype(np.float32), [0])
        method = ScoreCAM(split, chunk=4)
        method.channel_weights(evidence)
        tracemalloc.start()
        try:
            method.channel_weights(evidence)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak(8), peak(512)
    assert many < few + 300_000


# Maps that hold nothing


def test_maps_without_evidence_are_zero():
    """Only negative weights: ReLU leaves nothing, and normalising nothing must not divide by it."""
    split = Split(two_channel_model(np.array([[-1, 1], [-1, 1]], np.float32), flat=False), "features")
    for method in (GradCAM(split), GradCAMPlusPlus(split)):
        _, maps = next(explain([method], IMAGE, classes=np.array([0])))
        assert np.array_equal(maps[method.name], np.zeros((1, 4, 4)))


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_degenerate_activations_give_finite_maps(curved_split, pictures, value):
    """All activations zero, or one that is not a number: every method still gives a map in [0, 1]."""
    evidence = evidence_of(curved_split, pictures[:1], [0])
    if value == 0.0:
        evidence.activations[...] = 0
        evidence.gradients[...] = 0
    else:
        evidence.activations[0, 2, 2, 1] = value
    for method in methods_for(curved_split, ("gradcam", "gradcampp", "scorecam")):
        heatmap = normalise(method.raw(evidence))
        assert np.isfinite(heatmap).all() and heatmap.min() >= 0 and heatmap.max() <= 1
        if value == 0.0:
            assert not heatmap.any()
            assert not np.nan_to_num(method.channel_weights(evidence)).any()


def test_network_without_classification_head_is_one_sentence():
    model = build_hybrid("vgg16", image_size=32, variant="segmentation_only")
    with pytest.raises(ValueError, match=r"^vgg16 has no classification head; .*\.$"):
        Split(model)


# Normalising and upsampling


def test_upsampling_by_hand():
    """Half-pixel centres: new centres lie at -1/4, 1/4, 3/4, 5/4 of the old grid; the border is repeated."""
    np.testing.assert_allclose(upsample(np.array([[0, 1]]), (1, 4)), [[0, 0.25, 0.75, 1]], atol=1e-6)
    np.testing.assert_allclose(upsample(np.array([[0.0, 0.0], [4.0, 8.0]]), (4, 2)), [[0, 0], [1, 2], [3, 6], [4, 8]], atol=1e-5)
    assert upsample(np.zeros((3, 3)), (7, 9)).shape == (7, 9)


@settings(deadline=None, max_examples=80)
@given(arrays(np.float32, (3, 4, 5), elements=st.floats(-1e6, 1e6, width=32)))
def test_normalised_maps_span_zero_to_one(maps):
    scaled = normalise(maps)
    for before, after in zip(maps, scaled):
        if np.ptp(before) == 0:
            assert not after.any()
        else:
            assert after.min() == 0 and after.max() == 1
            order = np.argsort(before, axis=None)
            assert (np.diff(after.ravel()[order]) >= 0).all()
    assert np.array_equal(normalise(maps[1:2]), scaled[1:2]), "one map's range must not touch another's"


@settings(deadline=None, max_examples=40)
@given(arrays(np.float32, (2, 3, 3), elements=st.sampled_from([0.0, 1.0, 2.5, np.nan, np.inf, -np.inf, 3e38, -3e38])))
def test_normalised_maps_are_always_numbers_in_range(maps):
    scaled = normalise(maps)
    assert np.isfinite(scaled).all() and scaled.min() >= 0 and scaled.max() <= 1


# Explaining in batches


@pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
def test_batch_size_does_not_change_the_maps(curved_split, pictures, batch_size):
    methods = methods_for(curved_split, ("gradcam", "gradcampp", "scorecam"))
    expected = {method.name: normalise(np.stack([upsample(m, (12, 12)) for m in method.raw(evidence_of(curved_split, pictures, CLASSES))]))
                for method in methods}  # fmt: skip
    covered = []
    for part, maps in explain(methods, pictures.astype(np.uint8), classes=CLASSES, batch_size=batch_size):
        covered += list(range(part.start, part.stop))
        assert set(maps) == {"gradcam", "gradcampp", "scorecam"}
    assert covered == [0, 1, 2, 3, 4]
    for part, maps in explain(methods, pictures, classes=CLASSES, batch_size=batch_size):
        for name, values in maps.items():
            np.testing.assert_allclose(values, expected[name][part], atol=1e-4, err_msg=name)


def test_asking_for_the_predicted_class_is_the_default(curved_split, pictures):
    methods = methods_for(curved_split, ("gradcam",))
    predicted = curved_split.logits(pictures).argmax(axis=1)
    default = np.concatenate([maps["gradcam"] for _, maps in explain(methods, pictures)])
    asked = np.concatenate([maps["gradcam"] for _, maps in explain(methods, pictures, classes=predicted)])
    other = np.concatenate([maps["gradcam"] for _, maps in explain(methods, pictures, classes=(predicted + 1) % 3)])
    assert np.array_equal(default, asked) and np.abs(default - other).max() > 0.1


# A real network, by finite differences in double precision


@pytest.fixture(scope="module")
def efficientnet():
    """EfficientNetB0 at 75 px in single precision, and the same network in double precision."""
    single = build_hybrid("efficientnetb0", image_size=75, variant="classification_only", seed=3)
    # A fresh head is so small that all logits nearly agree; scale it so that explanations have something to weigh.
    kernel, bias = single.get_layer("classification").get_weights()
    single.get_layer("classification").set_weights([kernel * 50, bias])
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
        double = build_hybrid("efficientnetb0", image_size=75, variant="classification_only", seed=3)
        double.set_weights([np.asarray(value, np.float64) for value in single.get_weights()])
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy(policy)
    return single, double


def test_real_network_against_finite_differences(efficientnet):
    """Grad-CAM's weight is the slope of the logit when a whole channel is raised, over the number of cells.

    All slopes come from central differences of the head in float64; Grad-CAM++ then by its equation from single-cell slopes.
    """
    single, double = efficientnet
    split = Split(single, minimum_grid=5)
    image = np.random.default_rng(1).uniform(0, 255, (1, 75, 75)).astype(np.float32)
    evidence = evidence_of(split, image, [1])
    tensor = double.get_layer(split.layer).output
    features, head = keras.Model(double.input, tensor), keras.Model(tensor, double.output["classification"])
    base = features(image[..., None].astype(np.float64), training=False).numpy()
    assert base.dtype == np.float64 and base.shape[1:3] == (5, 5)
    np.testing.assert_allclose(evidence.activations, base, atol=1e-4 * np.abs(base).max())

    def slopes(directions: np.ndarray) -> np.ndarray:
        step = 1e-4 * np.abs(base).max()
        change = [head(base + sign * step * directions, training=False).numpy()[:, 1] for sign in (1, -1)]
        return (change[0] - change[1]) / (2 * step)

    channels = base.shape[-1]
    raised = np.zeros((channels, *base.shape[1:]))
    raised[np.arange(channels), :, :, np.arange(channels)] = 1
    weights = np.concatenate([slopes(part) for part in np.array_split(raised, 4)]) / 25
    found = GradCAM(split).channel_weights(evidence)[0]
    np.testing.assert_allclose(found, weights, atol=1e-3 * np.abs(weights).max())
    expected_map = np.maximum(base[0] @ weights, 0)
    np.testing.assert_allclose(GradCAM(split).raw(evidence)[0], expected_map, atol=1e-3 * expected_map.max())

    draw = np.random.default_rng(2)
    cells = np.stack([draw.integers(0, 5, 60), draw.integers(0, 5, 60), draw.integers(0, channels, 60)])
    single_cells = np.zeros((60, *base.shape[1:]))
    single_cells[np.arange(60), *cells] = 1
    np.testing.assert_allclose(evidence.gradients[0][tuple(cells)], slopes(single_cells), atol=1e-3 * np.abs(evidence.gradients).max())


# Randomisation


def test_randomising_changes_the_top_only_and_keeps_the_values():
    """VGG16 has 13 weighted convolutions and the classification layer: the top half are 7 layers."""
    model = build_hybrid("vgg16", image_size=32, seed=2, variant="two_heads")
    names = [f"block{block}_conv{number}" for block, count in enumerate((2, 2, 3, 3, 3), 1) for number in range(1, count + 1)] + ["classification"]
    before = {layer.name: layer.get_weights() for layer in model.layers}
    assert randomise_from_top(model, 0.0, seed=1) == 0
    assert randomise_from_top(model, 0.5, seed=1) == 7
    for layer in model.layers:
        for old, new in zip(before[layer.name], layer.get_weights()):
            assert np.array_equal(np.sort(old, axis=None), np.sort(new, axis=None)), layer.name
            changed = not np.array_equal(old, new)
            assert changed == (layer.name in names[7:] and np.ptp(old) > 0), layer.name
    after = {layer.name: layer.get_weights() for layer in model.layers}
    for layer in model.layers:
        layer.set_weights(before[layer.name])
    randomise_from_top(model, 0.5, seed=1)
    assert all(np.array_equal(a, b) for name in names for a, b in zip(after[name], model.get_layer(name).get_weights()))
    assert randomise_from_top(model, 1.0, seed=3) == 14
