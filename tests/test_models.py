"""The nine networks: published parameter counts, cuts of the graph, scaling as the published weights expect it."""

import importlib

import keras
import numpy as np
import pytest
from keras import layers, ops

from xai.models import ARCHITECTURES, DECODER_FILTERS, EVIDENCE, MaskedEvidence, _scale, build_hybrid, cut_layers, encoder_of, skip_layers, target_layer
from xai.profiles import NINE, SMALLEST_INPUT

SIZE = 75

# Weights without the classification top, from the summaries at https://keras.io/api/applications (include_top=False).
ENCODER_PARAMETERS = {
    "vgg16": 14_714_688, "vgg19": 20_024_384, "resnet50": 23_587_712, "resnet50v2": 23_564_800, "xception": 20_861_480,
    "inceptionv3": 21_802_784, "densenet121": 7_037_504, "efficientnetb0": 4_049_571, "inceptionresnetv2": 54_336_736,
}  # fmt: skip
LAST_CHANNELS = {
    "vgg16": 512, "vgg19": 512, "resnet50": 2048, "resnet50v2": 2048, "xception": 2048, "inceptionv3": 2048,
    "densenet121": 1024, "efficientnetb0": 1280, "inceptionresnetv2": 1536,
}  # fmt: skip


@pytest.fixture(scope="module", params=NINE)
def hybrid(request):
    yield build_hybrid(request.param, image_size=SIZE, seed=1)
    keras.backend.clear_session()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 1)).astype(np.float32)


def value(tensor) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor), np.float64)


def test_nine_architectures_agree_with_the_profiles():
    assert tuple(ARCHITECTURES) == NINE and set(ENCODER_PARAMETERS) == set(NINE)
    assert {name: facts.smallest_input for name, facts in ARCHITECTURES.items()} == {name: SMALLEST_INPUT.get(name, 32) for name in NINE}


def test_hybrid(hybrid, images):
    """Encoder as published, two outputs for each image, and a target layer that splits the network without a path beside it."""
    encoder = encoder_of(hybrid)
    assert encoder.count_params() == ENCODER_PARAMETERS[hybrid.name]
    assert encoder.output.shape[-1] == LAST_CHANNELS[hybrid.name]
    # Dense: one weight for each channel and class, and a bias.
    assert hybrid.get_layer("classification").count_params() == 3 * DECODER_FILTERS[0] + 3

    outputs = hybrid(images, training=False)
    assert set(outputs) == {"classification", "segmentation"}
    assert outputs["classification"].shape == (2, 3) and outputs["segmentation"].shape == (2, SIZE, SIZE, 1)
    logits, masks = value(outputs["classification"]), value(outputs["segmentation"])
    assert np.isfinite(logits).all() and np.isfinite(masks).all()
    assert np.ptp(logits, axis=0).max() > 0 and masks.std() > 0, "the image reaches neither head"

    target = target_layer(hybrid, minimum_grid=4)
    assert target.size >= 4 and hybrid.get_layer(target.name).output.shape[1:] == (target.size, target.size, target.channels)
    features = keras.Model(hybrid.input, hybrid.get_layer(target.name).output)
    head = keras.Model(hybrid.get_layer(target.name).output, hybrid.output["classification"])
    np.testing.assert_allclose(value(head(features(images, training=False), training=False)), logits, rtol=1e-5, atol=1e-5)
    assert target == (EVIDENCE, max(target.size, round(SIZE / 4)), DECODER_FILTERS[0])

    skips = skip_layers(encoder, SIZE)
    assert len({layer.name for layer in skips}) == len(skips)
    sizes = np.array([layer.size for layer in skips])
    assert (np.diff(sizes) > 0).all() and sizes[0] <= SIZE / 8 and sizes[-1] >= SIZE / 3


def test_evidence_is_the_mean_under_the_mask():
    """Two channels on four cells; the mask sees the first cell alone, then two evenly, then nothing at all but the third a little more."""
    features = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    certain = 50.0
    for logits, expected in (
        ([certain, -certain, -certain, -certain], [0, 1]),
        ([certain, certain, -certain, -certain], [1, 2]),
    ):
        evidence = value(MaskedEvidence()([features, np.reshape(np.float32(logits), (1, 2, 2, 1))]))
        np.testing.assert_allclose(evidence.mean(axis=(1, 2))[0], expected, rtol=1e-3, atol=1e-6)
        assert evidence[0][np.reshape(logits, (2, 2)) < 0].max(initial=0) < 1e-12
    faint = value(MaskedEvidence()([features + 1, np.reshape(np.float32([-9, -9, -5, -9]), (1, 2, 2, 1))]))[0]
    assert np.unravel_index(faint.sum(axis=-1).argmax(), (2, 2)) == (1, 0) and np.isfinite(faint).all()


def test_the_class_does_not_train_the_mask(images):
    """The class trains the features and not the mask: the layer of its logits gets no gradient from a class."""
    import tensorflow

    model = build_hybrid("vgg16", image_size=SIZE, seed=1)
    layer = model.get_layer("mask_logits")
    with tensorflow.GradientTape() as tape:
        loss = ops.sum(model(images, training=False)["classification"][:, 0])
    gradients = dict(zip((v.path for v in model.trainable_variables), tape.gradient(loss, model.trainable_variables)))
    assert gradients[layer.kernel.path] is None, "the class would train the mask"
    assert sum(gradient is not None and np.abs(value(gradient)).max() > 0 for gradient in gradients.values()) > 20


@pytest.mark.parametrize("variant, heads", [
    ("two_heads", {"classification", "segmentation"}), ("classification_only", {"classification"}), ("segmentation_only", {"segmentation"}),
])  # fmt: skip
def test_variants(variant, heads):
    """Only the hybrid reads its class from under the mask; the others pool the encoder's last map, so its layers are the targets."""
    model = build_hybrid("vgg16", image_size=SIZE, variant=variant)
    assert set(model.output) == heads and EVIDENCE not in {layer.name for layer in model.layers}
    if "classification" in heads:
        assert model.get_layer("classification").count_params() == 3 * LAST_CHANNELS["vgg16"] + 3
        candidates = cut_layers(encoder_of(model))
        target = target_layer(model, minimum_grid=4)
        deeper = candidates[[c.name for c in candidates].index(target.name) + 1 :]
        assert target.size >= 4 and all(layer.size < 4 for layer in deeper), "a deeper layer would have done"


# Cuts of small graphs drawn by hand


def graph(*, with_skip: bool) -> keras.Model:
    """Input - padding - a - b - c - sum(a, c) - d - pooled; without the skip, the sum is of c with itself."""
    image = keras.Input((6, 6, 1), name="image")
    padded = layers.ZeroPadding2D(1, name="padding")(image)
    a = layers.Conv2D(2, 3, name="a")(padded)
    b = layers.Conv2D(2, 3, padding="same", activation="relu", name="b")(a)
    c = layers.Conv2D(2, 3, padding="same", name="c")(b)
    joined = layers.Add(name="sum")([a if with_skip else c, c])
    d = layers.Conv2D(4, 2, strides=2, name="d")(joined)
    return keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D(name="pooled")(d)))


def test_layers_beside_a_path_are_no_cuts():
    assert [tuple(layer) for layer in cut_layers(graph(with_skip=True))] == [("a", 6, 2), ("sum", 6, 2), ("d", 3, 4)]
    assert [layer.name for layer in cut_layers(graph(with_skip=False))] == ["a", "b", "c", "sum", "d"]


def test_branches_are_no_cuts():
    """Of two parallel branches neither separates, whatever the order in which they were made; nor does a path from the input."""
    image = keras.Input((4, 4, 1))
    stem = layers.Conv2D(2, 1, name="stem")(image)
    short = layers.Conv2D(2, 1, name="short")(stem)
    long = layers.Conv2D(2, 1, name="long_2")(layers.Conv2D(2, 1, name="long_1")(stem))
    joined = layers.Concatenate(name="joined")([short, long])
    assert [layer.name for layer in cut_layers(keras.Model(image, layers.Conv2D(1, 1, name="end")(joined)))] == ["stem", "joined", "end"]
    from_input = layers.Concatenate(name="with_image")([joined, image])
    assert [layer.name for layer in cut_layers(keras.Model(image, from_input))] == ["with_image"]


def test_every_cut_splits_the_network_exactly():
    model = graph(with_skip=True)
    x = np.random.default_rng(0).normal(size=(3, 6, 6, 1)).astype(np.float32)
    whole = value(model(x))
    for layer in cut_layers(model):
        tensor = model.get_layer(layer.name).output
        np.testing.assert_allclose(value(keras.Model(tensor, model.output)(keras.Model(model.input, tensor)(x))), whole, atol=1e-6)
    # Splitting adds nodes to the layers; the cuts must not change by it.
    assert [layer.name for layer in cut_layers(model)] == ["a", "sum", "d"]


def test_target_layer_respects_the_minimum_grid():
    """ResNet50 at 75 px has maps of 38, 19, 10, 5 and 3 cells; the last block of each stage is a cut."""
    model = build_hybrid("resnet50", image_size=SIZE, variant="two_heads")
    wanted = {2: ("conv5_block3_out", 3), 3: ("conv5_block3_out", 3), 4: ("conv4_block6_out", 5), 5: ("conv4_block6_out", 5),
              6: ("conv3_block4_out", 10), 10: ("conv3_block4_out", 10), 11: ("conv2_block3_out", 19)}  # fmt: skip
    assert {grid: target_layer(model, minimum_grid=grid)[:2] for grid in wanted} == wanted
    with pytest.raises(ValueError, match=r"^No layer of resnet50 has a map of 80 x 80 cells; lower `saliency.minimum_grid`"):
        target_layer(model, minimum_grid=80)
    # Of a hybrid no other layer will do, however fine a grid is asked for.
    with pytest.raises(ValueError, match=r"^No layer of vgg16 has a map of 20 x 20 cells"):
        target_layer(build_hybrid("vgg16", image_size=SIZE), minimum_grid=20)


def test_a_named_target_layer_must_separate_image_and_class():
    plain, hybrid = (build_hybrid("vgg16", image_size=SIZE, variant=variant) for variant in ("two_heads", "hybrid"))
    assert target_layer(plain, name="block4_conv3") == ("block4_conv3", 9, 512)
    assert target_layer(hybrid, name=EVIDENCE) == target_layer(hybrid)
    # The skip connections of a hybrid lead around the deep layers of its encoder, those of `two_heads` do not reach its class.
    with pytest.raises(ValueError, match=r"^Layer 'block4_conv3' of vgg16 does not separate image and class: .* choose one of .*evidence\.$"):
        target_layer(hybrid, name="block4_conv3")
    with pytest.raises(ValueError, match=r"^Layer 'block9' of vgg16 does not exist; choose one of .*block5_conv3"):
        target_layer(plain, name="block9")
    with pytest.raises(ValueError, match=r"^Layer 'pooled' of vgg16 does not separate"):
        target_layer(plain, name="pooled")


# Input, start and variants


@pytest.mark.parametrize(("scaling", "module"), [
    ("caffe", "vgg16"), ("caffe", "vgg19"), ("caffe", "resnet"), ("tf", "resnet_v2"), ("tf", "xception"), ("tf", "inception_v3"),
    ("tf", "inception_resnet_v2"), ("torch", "densenet"), ("raw", "efficientnet"),
])  # fmt: skip
def test_pretrained_scaling_is_that_of_keras(scaling, module):
    """Against the `preprocess_input` that belongs to each family of published weights."""
    image = keras.Input((8, 8, 3))
    network = keras.Model(image, layers.Activation("linear")(_scale(image, scaling, weights="a file")))
    grey = np.repeat(np.random.default_rng(1).uniform(0, 255, (1, 8, 8, 1)).astype(np.float32), 3, axis=-1)
    expected = importlib.import_module(f"keras.applications.{module}").preprocess_input(grey.copy())
    np.testing.assert_allclose(value(network(grey)), expected, atol=2e-4)


def test_each_architecture_has_the_scaling_of_its_family():
    assert {name: facts.scaling for name, facts in ARCHITECTURES.items()} == {
        "vgg16": "caffe", "vgg19": "caffe", "resnet50": "caffe", "resnet50v2": "tf", "xception": "tf", "inceptionv3": "tf",
        "densenet121": "torch", "efficientnetb0": "raw", "inceptionresnetv2": "tf",
    }  # fmt: skip


@pytest.mark.parametrize(("architecture", "module"), [("vgg16", "vgg16"), ("efficientnetb0", "efficientnet")])
def test_encoder_weights_from_a_file(architecture, module, tmp_path):
    """The encoder of the hybrid then says what the network that wrote the file says of the preprocessed image."""
    source = getattr(keras.applications, ARCHITECTURES[architecture].application)(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    draw = np.random.default_rng(2)
    source.set_weights([w + draw.uniform(0, 0.02, w.shape).astype(w.dtype) for w in source.get_weights()])
    file = tmp_path / "encoder.weights.h5"
    source.save_weights(file)
    hybrid = build_hybrid(architecture, image_size=32, encoder_weights=str(file))
    file.unlink()  # large, and pytest keeps the folders of three runs
    image = draw.uniform(0, 255, (1, 32, 32, 1)).astype(np.float32)
    prepared = importlib.import_module(f"keras.applications.{module}").preprocess_input(np.repeat(image, 3, axis=-1))
    expected = value(source(prepared, training=False))
    assert expected.std() > 0
    np.testing.assert_allclose(value(encoder_of(hybrid)(image, training=False)), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("architecture", "module"), [("efficientnetb0", "efficientnet"), ("vgg16", "vgg16"), ("densenet121", "densenet")])
def test_imagenet_weights_do_what_they_do_in_keras(architecture, module, tmp_path, monkeypatch):
    """Against the network that Keras builds around its own download, of which a file made here takes the place.

    EfficientNet is built with a layer more there than without the download.
    """
    application = getattr(keras.applications, ARCHITECTURES[architecture].application)
    source = application(include_top=False, weights=None, input_shape=(32, 32, 3))
    draw = np.random.default_rng(3)
    values = [w + draw.uniform(0, 0.02, w.shape).astype(w.dtype) for w in source.get_weights()]
    for number, weight in enumerate(source.weights):  # the published normalisation
        if weight.path.startswith("normalization"):
            values[number] = {"mean": [0.485, 0.456, 0.406], "variance": [0.229, 0.224, 0.225], "count": 0}[weight.path.split("/")[1]]
            values[number] = np.asarray(values[number], weight.dtype).reshape(weight.shape)
    source.set_weights(values)
    assert (architecture == "efficientnetb0") == any(np.isclose(np.ravel(w)[:1], 0.485).any() for w in source.get_weights() if w.size == 3)
    source.save_weights(tmp_path / "published.weights.h5")
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *arguments, **keywords: str(tmp_path / "published.weights.h5"))
    published = application(include_top=False, weights="imagenet", input_shape=(32, 32, 3))
    hybrid = build_hybrid(architecture, image_size=32, encoder_weights="imagenet")
    (tmp_path / "published.weights.h5").unlink()
    later = build_hybrid(architecture, image_size=32, encoder_weights="imagenet", initialise=False)
    hybrid.save_weights(tmp_path / "hybrid.weights.h5")
    later.load_weights(tmp_path / "hybrid.weights.h5")
    (tmp_path / "hybrid.weights.h5").unlink()
    image = draw.uniform(0, 255, (1, 32, 32, 1)).astype(np.float32)
    prepared = importlib.import_module(f"keras.applications.{module}").preprocess_input(np.repeat(image, 3, axis=-1))
    expected = value(published(prepared, training=False))
    assert expected.std() > 0
    for model in (hybrid, later):
        np.testing.assert_allclose(value(encoder_of(model)(image, training=False)), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_missing_weights_file_is_one_sentence():
    with pytest.raises(ValueError, match=r"^Encoder weights /nowhere.h5 not found; .*\.$"):
        build_hybrid("vgg16", image_size=32, encoder_weights="/nowhere.h5")


def test_networks_without_normalisation_start_with_he_variance():
    """Variance 2 / (inputs of a cell) in every convolution of VGG16, so the signal neither dies nor explodes."""
    model = build_hybrid("vgg16", image_size=32, variant="classification_only", seed=5)
    for layer in encoder_of(model).layers:
        if isinstance(layer, layers.Conv2D):
            kernel = value(layer.kernel)
            fan_in = np.prod(kernel.shape[:3])
            # 1728 weights in the first layer: the variance is known to about 3.4 %.
            assert kernel.var() == pytest.approx(2 / fan_in, rel=0.12), layer.name


def test_seed_decides_the_start():
    first, same, other = (
        build_hybrid("vgg16", image_size=32, variant="segmentation_only", seed=seed).get_weights() for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, same))
    changed = [not np.array_equal(a, b) for a, b in zip(first, other) if a.ndim == 4]
    assert all(changed)


def test_momentum_replaces_that_of_every_encoder_normalisation():
    encoder = encoder_of(build_hybrid("efficientnetb0", image_size=32, batch_norm_momentum=0.5))
    momenta = {layer.momentum for layer in encoder.layers if isinstance(layer, layers.BatchNormalization)}
    assert momenta == {0.5}


@pytest.mark.parametrize(("variant", "heads"), [
    ("classification_only", {"classification"}), ("segmentation_only", {"segmentation"}), ("hybrid", {"classification", "segmentation"}),
])  # fmt: skip
def test_variants_have_their_heads_alone(variant, heads):
    model = build_hybrid("vgg16", image_size=32, variant=variant)
    assert set(model.output) == heads
    has_decoder = any(layer.name.startswith("decoder") for layer in model.layers)
    assert has_decoder is ("segmentation" in heads)
    assert encoder_of(model).count_params() == ENCODER_PARAMETERS["vgg16"]


@pytest.mark.parametrize(("arguments", "sentence"), [
    ({"architecture": "alexnet", "image_size": 32}, r"^Unknown architecture 'alexnet'; expected one of vgg16, .*inceptionresnetv2\.$"),
    ({"architecture": "xception", "image_size": 70}, r"^Xception needs images of at least 71 px, found 70; raise .*\.$"),
    ({"architecture": "inceptionv3", "image_size": 74}, r"^InceptionV3 needs images of at least 75 px, found 74"),
    ({"architecture": "vgg16", "image_size": 32, "variant": "both"}, r"^Unknown variant 'both'; expected one of hybrid"),
])  # fmt: skip
def test_bad_requests_are_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        build_hybrid(**arguments)
