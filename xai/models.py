"""Nine convolutional encoders, each with a classification head and a segmentation head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
from keras import layers, ops

from xai.paths import VARIANTS, StudyError


@dataclass(frozen=True)
class Architecture:
    """One encoder of the study: its name in `keras.applications`, its smallest input and its input scaling."""

    title: str
    application: str
    smallest_input: int
    # How the published ImageNet weights expect their input: "caffe" BGR minus channel means, "tf" [-1, 1],
    # "torch" ImageNet mean and deviation, "raw" 0-255 because the network rescales by itself.
    scaling: str


# The nine of the group's 2024 study (BioData Mining 17, doi 10.1186/s13040-024-00370-4).
ARCHITECTURES: dict[str, Architecture] = {
    "vgg16": Architecture("VGG16", "VGG16", 32, "caffe"),
    "vgg19": Architecture("VGG19", "VGG19", 32, "caffe"),
    "resnet50": Architecture("ResNet50", "ResNet50", 32, "caffe"),
    "resnet50v2": Architecture("ResNet50V2", "ResNet50V2", 32, "tf"),
    "xception": Architecture("Xception", "Xception", 71, "tf"),
    "inceptionv3": Architecture("InceptionV3", "InceptionV3", 75, "tf"),
    "densenet121": Architecture("DenseNet121", "DenseNet121", 32, "torch"),
    "efficientnetb0": Architecture("EfficientNetB0", "EfficientNetB0", 32, "raw"),
    "inceptionresnetv2": Architecture("InceptionResNetV2", "InceptionResNetV2", 75, "tf"),
}

EVIDENCE = "evidence"  # the layer of a hybrid whose activations the class head pools
EVIDENCE_STRIDE = 4
DECODER_FILTERS = (128, 64, 32, 16)  # from stride 16 to stride 2; light beside encoders of 4 to 55 million weights


class FeatureLayer(NamedTuple):
    """A layer through which everything flows from image to output, with its map size (cells) and channels."""

    name: str
    size: int
    channels: int


def cut_layers(model: keras.Model) -> list[FeatureLayer]:
    """Layers with a spatial output that separate the input from the output of a network.

    A network can be split at such a layer without leaving a path beside it: features before, head after.
    Found from the graph: in topological order, layer `i` separates when no edge jumps over it.

    Parameters
    ----------
    model : keras.Model
        A functional network with one input and one output.

    Returns
    -------
    list of FeatureLayer
        From input to output.
    """
    ordered = model.layers
    position = {layer.name: index for index, layer in enumerate(ordered)}
    last_consumer = [index for index in range(len(ordered))]
    for index, layer in enumerate(ordered):
        for node in layer._inbound_nodes:
            for parent in node.parent_nodes:
                name = parent.operation.name
                if name in position:
                    last_consumer[position[name]] = max(last_consumer[position[name]], index)
    cuts, reach = [], -1
    for index, layer in enumerate(ordered):
        shape = getattr(layer.output, "shape", ())
        if reach <= index and len(shape) == 4 and not isinstance(layer, (layers.ZeroPadding2D, layers.InputLayer)):
            cuts.append(FeatureLayer(layer.name, int(shape[1]), int(shape[3])))
        reach = max(reach, last_consumer[index])
    return cuts


def encoder_of(model: keras.Model) -> keras.Model:
    """The part of a hybrid from the image to the encoder's last feature map, sharing its weights."""
    return keras.Model(model.input, model.get_layer(model.encoder_output).output, name="encoder")


def target_layer(model: keras.Model, *, minimum_grid: int = 5, name: str | None = None) -> FeatureLayer:
    """The layer whose activations the class activation maps weigh.

    Of a hybrid the evidence that its class head pools. Of other networks the last spatial layer of the encoder, unless its map has fewer
    than `minimum_grid` cells a side (small inputs); then the deepest layer that has them. A 2 x 2 map cannot localise anything.

    Parameters
    ----------
    name : str, optional
        This layer instead, whatever its grid. It must separate image and class: a heatmap of a layer that paths lead around would show a
        part of the evidence as if it were all.
    """
    if name is not None:
        return _named_layer(model, name)
    evidence = [layer.output.shape for layer in model.layers if layer.name == EVIDENCE]
    # No layer of a hybrid's encoder separates image and class: skip connections lead around all of them.
    layers_of = [FeatureLayer(EVIDENCE, int(shape[1]), int(shape[3])) for shape in evidence] or cut_layers(encoder_of(model))
    candidates = [layer for layer in layers_of if layer.size >= minimum_grid]
    if not candidates:
        raise StudyError(
            f"No layer of {model.name} has a map of {minimum_grid} x {minimum_grid} cells; "
            "lower `saliency.minimum_grid` or raise `data.image_size` in the profile."
        )
    return candidates[-1]


def _named_layer(model: keras.Model, name: str) -> FeatureLayer:
    cuts = {layer.name: layer for layer in cut_layers(keras.Model(model.input, model.output["classification"])) if layer.size > 1}
    if name not in cuts:
        known = name in {layer.name for layer in model.layers}
        why = "does not separate image and class: paths lead around it, or it has no map" if known else "does not exist"
        raise StudyError(f"Layer {name!r} of {model.name} {why}; choose one of {', '.join(list(cuts)[-6:])}.")
    return cuts[name]


def build_hybrid(
    architecture: str,
    *,
    image_size: int,
    classes: int = 3,
    variant: str = "hybrid",
    encoder_weights: str | None = None,
    initialise: bool = True,
    batch_norm_momentum: float | None = None,
    dropout: float = 0.2,
    seed: int = 0,
) -> keras.Model:
    """Build one encoder with a classification and a segmentation head.

    Parameters
    ----------
    architecture : str
        A key of `ARCHITECTURES`.
    image_size : int
        Side of the square input in pixels.
    variant : {"hybrid", "two_heads", "classification_only", "segmentation_only"}
        Which heads the network has, and where the class head looks. ``hybrid``: both heads, and the class is read from where the mask head
        finds the tumour (`MaskedEvidence`). The others serve the ablation; ``two_heads`` has both side by side, the class read from the
        average of the encoder's last map, as ``classification_only`` does without a mask head.
    encoder_weights : str, optional
        None (random), "imagenet" (downloaded by Keras), or the path of a Keras weights file of the encoder, as
        ``keras.applications`` builds it with ``include_top=False, weights=None``.
    initialise : bool
        False builds the same network without reading or downloading `encoder_weights`, for weights that are loaded afterwards.
    batch_norm_momentum : float, optional
        Replaces the encoder's own. Short runs need about 0.9: at 0.99 the running statistics
        are still those of the random start after a few hundred steps.

    Returns
    -------
    keras.Model
        Input (B, S, S, 1) grey values 0-255. Outputs, as a dict: `classification` logits (B, classes) and
        `segmentation` logits (B, S, S, 1). `model.encoder_output` names the encoder's last layer.

    Raises
    ------
    StudyError
        Unknown architecture or variant, or an image smaller than the encoder can take.
    """
    facts = architecture_facts(architecture)
    if variant not in VARIANTS:
        raise StudyError(f"Unknown variant {variant!r}; expected one of {', '.join(VARIANTS)}.")
    if image_size < facts.smallest_input:
        raise StudyError(
            f"{facts.title} needs images of at least {facts.smallest_input} px, found {image_size}; "
            "raise `data.image_size` in the profile or leave this architecture out."
        )
    keras.utils.set_random_seed(seed)
    image = keras.Input((image_size, image_size, 1), name="image")
    colour = layers.Concatenate(name="grey_to_rgb")([image, image, image])
    scaled = _scale(colour, facts.scaling, weights=encoder_weights)
    application = getattr(keras.applications, facts.application)
    encoder = application(include_top=False, weights=None, input_tensor=scaled)
    if encoder_weights == "imagenet" and initialise:
        encoder.set_weights(application(include_top=False, weights="imagenet", input_shape=(image_size, image_size, 3)).get_weights())
        for layer in encoder.layers:
            if isinstance(layer, layers.Normalization):
                layer.finalize_state()  # it computes with copies of its weights, which `set_weights` leaves as they were
    _initialise(encoder, encoder_weights if initialise else None, batch_norm_momentum, seed)

    precise = keras.config.dtype_policy().variable_dtype  # losses are computed in single precision also where features are not
    outputs = {}
    if variant != "classification_only":
        semantic, mask_logits = _decoder(encoder, image_size)
        outputs["segmentation"] = layers.Resizing(image_size, image_size, dtype=precise, name="segmentation")(mask_logits)
    if variant != "segmentation_only":
        seen = _evidence(semantic, mask_logits, image_size) if variant == "hybrid" else encoder.output
        pooled = layers.GlobalAveragePooling2D(name="pooled")(seen)
        outputs["classification"] = layers.Dense(
            classes, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01, seed=seed), dtype=precise, name="classification"
        )(
            layers.Dropout(dropout, seed=seed, name="head_dropout")(pooled)
        )
    model = keras.Model(image, outputs, name=architecture)
    model.encoder_output = encoder.layers[-1].name
    return model


def architecture_facts(architecture: str) -> Architecture:
    """Facts of a named architecture, or one sentence saying which exist."""
    if architecture not in ARCHITECTURES:
        raise StudyError(f"Unknown architecture {architecture!r}; expected one of {', '.join(ARCHITECTURES)}.")
    return ARCHITECTURES[architecture]


def skip_layers(encoder: keras.Model, image_size: int) -> list[FeatureLayer]:
    """Encoder layers at about stride 16, 8, 4 and 2: those whose map size is nearest, the deepest of equals.

    Networks without padding (Inception, Xception) have no exact strides, so sizes are matched, not divided.
    """
    cuts = cut_layers(encoder)[::-1]
    chosen = [min(cuts, key=lambda layer: abs(layer.size - image_size / stride)) for stride in (16, 8, 4, 2)]
    return list(dict.fromkeys(chosen))


def _scale(colour, scaling: str, *, weights: str | None):
    """Input scaling: what published weights expect, else [-1, 1]; `weights` as in `build_hybrid`."""
    pretrained = weights is not None
    deviation, mean = (0.229, 0.224, 0.225), (0.485, 0.456, 0.406)
    if scaling == "raw" and weights == "imagenet":
        # Keras puts a second scaling, by one over the root of the deviation, behind EfficientNet's own normalisation, and only where
        # it loads these weights itself. Moved in front of it: 255 m + (x - 255 m) r.
        gain = [d**-0.5 for d in deviation]
        return layers.Rescaling(gain, offset=[255 * m * (1 - r) for m, r in zip(mean, gain)], name="input_scaling")(colour)
    if scaling == "raw":
        return colour
    if pretrained and scaling == "caffe":
        return layers.Rescaling(1.0, offset=[-103.939, -116.779, -123.68], name="input_scaling")(colour)
    if pretrained and scaling == "torch":
        return layers.Rescaling(
            [1 / (255 * d) for d in deviation], offset=[-m / d for m, d in zip(mean, deviation)], name="input_scaling"
        )(colour)
    return layers.Rescaling(1 / 127.5, offset=-1.0, name="input_scaling")(colour)


def _initialise(encoder: keras.Model, weights: str | None, momentum: float | None, seed: int) -> None:
    if weights not in (None, "imagenet"):
        if not Path(weights).exists():
            raise StudyError(f"Encoder weights {weights} not found; give a Keras weights file, `imagenet` or null.")
        encoder.load_weights(weights)
    has_normalisation = False
    for layer in encoder.layers:
        if isinstance(layer, layers.BatchNormalization):
            has_normalisation = True
            if momentum is not None:
                layer.momentum = momentum
    if weights is None and not has_normalisation:
        # Glorot's start halves the variance at every ReLU, so 16 unnormalised layers (VGG) pass on next to nothing.
        for index, layer in enumerate(encoder.layers):
            if isinstance(layer, layers.Conv2D):
                start = keras.initializers.HeNormal(seed=seed * 1000 + index)
                layer.kernel.assign(start(layer.kernel.shape))


@keras.saving.register_keras_serializable("xai")
class MaskedEvidence(layers.Layer):
    """Features E (B, h, w, K) weighted by the mask's probability p: E p / mean(p), so that their plain average is the mean under the mask.

    Masked average pooling (Zhang et al. 2018, SG-One) in two steps, with a layer between whose map shows where the class is read: a class
    activation map of that layer is zero where the mask head sees no tumour. The mask is not trained through the class: its gradient stops here.
    Where the mask head finds nothing, p is small everywhere and its largest values decide alone.
    """

    def call(self, inputs):
        features, mask_logits = inputs
        probability = ops.stop_gradient(ops.sigmoid(ops.cast(mask_logits, "float32")))
        share = probability / (ops.mean(probability, axis=(1, 2), keepdims=True) + 1e-4)
        return features * ops.cast(share, features.dtype)

    def compute_output_shape(self, shapes):
        return shapes[0]


def _evidence(semantic, mask_logits, image_size: int):
    """What the class head of a hybrid pools: the decoder's deepest features, under the mask, on a grid fine enough to show a tumour."""
    cells = max(semantic.shape[1], round(image_size / EVIDENCE_STRIDE))
    fine = layers.Resizing(cells, cells, name="evidence_up")(semantic)
    return MaskedEvidence(name=EVIDENCE)([fine, layers.Resizing(cells, cells, name="evidence_mask")(mask_logits)])


def _decoder(encoder: keras.Model, image_size: int):
    """A light decoder over the encoder's own feature maps: its deepest features (stride 16) and the mask's logits at about half size.

    Features are merged by addition after 1 x 1 convolutions, as in a feature pyramid (Lin et al. 2017), not by concatenation as in a
    U-Net: a third of the arithmetic, so that the second head costs an efficient encoder little.
    """
    x, deepest = encoder.output, None
    for layer, filters in zip(skip_layers(encoder, image_size), DECODER_FILTERS):
        skip = encoder.get_layer(layer.name).output
        name = f"decoder_{layer.size}"
        # Channels are reduced before the map grows: four times fewer multiplications than after.
        merged = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_reduce")(x)
        if x is not skip:
            merged = layers.Resizing(layer.size, layer.size, name=f"{name}_up")(merged)
            merged = layers.Add(name=f"{name}_merge")([merged, layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_skip")(skip)])
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(merged)
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        x = layers.Activation("relu", name=f"{name}_relu")(x)
        deepest = x if deepest is None else deepest
    # A tumour fills a few percent of a slice: start from a low probability instead of one half everywhere.
    return deepest, layers.Conv2D(1, 1, bias_initializer=keras.initializers.Constant(-2.0), name="mask_logits")(x)
