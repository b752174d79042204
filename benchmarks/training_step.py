"""What does the second head cost, and does training wait for data?

    python benchmarks/training_step.py                              # the nine at 96 px
    python benchmarks/training_step.py efficientnetb0 --image-size 224 --precision mixed_bfloat16

Three steps of each network take turns in one process, so that whatever else the machine does hits all of them alike: the encoder with a
linear classifier, as keras.applications gives it; ours with the class head alone; and the hybrid. Beside them the encoder alone goes forward
and backward on a batch that already lies on the device, with neither optimiser nor metrics: the rate that no training step can reach. Then the
hybrid trains from a prepared store with augmentation, and counted is how long each step stands still until its batch is there. (Epochs from
the store and from memory, compared, say the same with far more noise: on a shared machine they differ by a tenth either way.)

The last column says how long training takes at the rate of these steps, without compiling and validation. On a GPU:

    KERAS_BACKEND=jax python benchmarks/training_step.py --image-size 224 --batch-size 32 --precision mixed_bfloat16
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import ops
from keras.src.trainers.data_adapters import get_data_adapter

from xai import training
from xai.batches import Batches, class_weights, make_augmentation
from xai.data.dataset import Dataset, Slice, prepare
from xai.models import ARCHITECTURES
from xai.paths import LABELS, PLANES, Study
from xai.profiles import NINE, Profile

JAX = keras.backend.backend() == "jax"


def plain_classifier(architecture: str, size: int, precision: str) -> keras.Model:
    """The published encoder with pooling and a linear layer: what the hybrid's class head costs without us."""
    keras.config.set_dtype_policy(precision)
    encoder = getattr(keras.applications, ARCHITECTURES[architecture].application)(include_top=False, weights=None, input_shape=(size, size, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(encoder.output)
    model = keras.Model(encoder.input, keras.layers.Dense(len(LABELS), dtype="float32")(pooled))
    keras.config.set_dtype_policy("float32")
    compiled_by_xla = "auto" if JAX else False  # as training does
    model.compile(keras.optimizers.AdamW(1e-4, clipnorm=1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=compiled_by_xla)
    return model


def forward_and_backward(model: keras.Model, images: np.ndarray):
    """A function that computes all gradients of the mean square of a network's output, and waits for them."""
    if JAX:
        import jax

        def loss(trainable, others, images):
            output, others = model.stateless_call(trainable, others, images, training=True)
            return ops.mean(ops.square(ops.cast(output, "float32"))), others

        step = jax.jit(jax.grad(loss, has_aux=True))
        # Copies: training steps of the classifier give its own arrays away.
        inputs = jax.device_put(tuple([np.array(v.value) for v in part] for part in (model.trainable_variables, model.non_trainable_variables)) + (images,))
        return lambda: jax.block_until_ready(step(*inputs))
    import tensorflow

    @tensorflow.function
    def step(images):
        with tensorflow.GradientTape() as tape:
            loss = ops.mean(ops.square(ops.cast(model(images, training=True), "float32")))
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    images = tensorflow.constant(images)
    return lambda: [gradient.numpy() for gradient in step(images)[:1]]


def steps_of(architecture: str, profile: Profile, precision: str):
    """Name -> a function that runs one training step on a batch in memory."""
    size, count = profile.data.image_size, profile.training.batch_size
    draw = np.random.default_rng(0)
    grey = (draw.random((count, size, size, 1)) * 255).astype(np.float32)
    targets = {"classification": draw.integers(0, 3, count), "segmentation": (draw.random((count, size, size, 1)) > 0.9).astype(np.float32)}
    plain = plain_classifier(architecture, size, precision)
    coloured = np.repeat(grey, 3, axis=-1)
    steps = {"bare encoder": forward_and_backward(keras.Model(plain.input, plain.layers[-3].output), coloured),
             "plain classifier": lambda: plain.train_on_batch(coloured, targets["classification"])}  # fmt: skip
    for variant in ("classification_only", "hybrid"):
        model = training.compiled(training.build(profile, architecture, variant), profile, architecture, 1000)
        own = {head: targets[head] for head in model.output_names_in_order}
        steps[variant] = lambda model=model, own=own: model.train_on_batch(grey, own)
    return steps


def alternate(steps: dict, rounds: int) -> dict[str, float]:
    """Median seconds of each step, taken in turns after two warm-up rounds."""
    seconds = {name: [] for name in steps}
    for turn in range(rounds + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def waiting(architecture: str, profile: Profile, batches: int, rounds: int = 3) -> dict[str, float]:
    """What an epoch loses to its data.

    Returns
    -------
    dict
        ``share`` of the time of a step that passes until its batch is there; and ``keras``: how many times longer the same batches take
        through Keras' own pipeline (with JAX they are: nan).
    """
    size, count = profile.data.image_size, profile.training.batch_size * batches
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Path(folder) / "study")
        draw = np.random.default_rng(0)
        slices = (
            Slice(f"s{n}", draw.integers(0, 255, (size, size)).astype(np.uint8), np.pad(np.ones((9, 9), np.uint8), ((20, size - 29), (n % 40, size - 9 - n % 40))),
                  LABELS[n % 3], f"p{n}", PLANES[n % 3]) for n in range(count)
        )  # fmt: skip
        prepare(study, slices, count=count, image_size=size, source="benchmark", assign_splits=lambda index: ["train"] * len(index))
        dataset = Dataset(study)
        rows = dataset.rows("train")
        model = training.compiled(training.build(profile, architecture), profile, architecture, count)
        stored = Batches(dataset, rows, batch_size=profile.training.batch_size, heads=model.output_names_in_order,
                         weights=class_weights(dataset.labels(rows)), augment=make_augmentation(0), shuffle_seed=[0, 0])  # fmt: skip
        sources = {"store": stored.for_fit} | ({} if JAX else {"keras": lambda: stored})
        # A dataset for every epoch, as in training.
        seconds = alternate({name: lambda make=make: model.fit(make(), epochs=1, verbose=0, shuffle=False) for name, make in sources.items()}, rounds)
        share = waited(model, get_data_adapter(stored.for_fit()).get_numpy_iterator())
    return {"share": share, "keras": seconds.get("keras", np.nan) / seconds["store"]}


def waited(model: keras.Model, data) -> float:
    """Share of the time of training steps that passes until their batches are there, without the first batch of the epoch."""
    waiting, start = [], time.perf_counter()
    for number, batch in enumerate(data):
        here = time.perf_counter()
        model.train_on_batch(*batch)
        end = time.perf_counter()
        if number:
            waiting.append((here - start, end - start))
        start = end
    return float(np.divide(*np.sum(waiting, axis=0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architectures", nargs="*", help="default: all nine")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batches", type=int, default=20, help="batches fitted to see how long training waits")
    parser.add_argument("--slices", type=int, default=1466, help="of an epoch, for the last column (default: training slices of results/figshare)")
    parser.add_argument("--epochs", type=int, default=30, help="for the last column")
    parser.add_argument("--no-header", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.architectures:
        # A process for each: TensorFlow keeps the memory of networks that are gone.
        for number, architecture in enumerate(NINE):
            subprocess.run([sys.executable, __file__, architecture, *sys.argv[1:], *(["--no-header"] if number else [])], check=True)
        return
    training.limit_threads()
    if not options.no_header:
        print(f"{'network':<20} {'slices/s':>9} {'class head / plain':>19} {'hybrid / plain':>15} {'of bare rate %':>15} {'waiting %':>10} {'keras / ours':>13} "
              f"{f'{options.epochs} epochs, min':>15}", flush=True)  # fmt: skip
    for architecture in options.architectures:
        settings = {"batch_size": options.batch_size, "precision": options.precision, "architectures": [architecture]}
        profile = Profile(data={"image_size": options.image_size}, training=settings)
        keras.backend.clear_session()
        seconds = alternate(steps_of(architecture, profile, options.precision), options.rounds)
        data = waiting(architecture, profile, options.batches)
        plain = seconds["plain classifier"]
        print(f"{architecture:<20} {options.batch_size / seconds['hybrid']:9.1f} {seconds['classification_only'] / plain:19.2f} "
              f"{seconds['hybrid'] / plain:15.2f} {100 * seconds['bare encoder'] / seconds['hybrid']:15.0f} {100 * data['share']:10.1f} {data['keras']:13.2f} "
              f"{options.slices * options.epochs * seconds['hybrid'] / options.batch_size / 60:15.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
