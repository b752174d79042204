"""What do heatmaps cost, against the network's own forward pass and against other libraries?

    python benchmarks/saliency.py                                   # three networks at 96 px
    python benchmarks/saliency.py efficientnetb0 --image-size 224

Everything takes turns in one process on the same slices. "x passes" is time over that of a forward pass of as many images at the batch
size that is fastest for the network; Score-CAM of all K channels needs K of them. tf-keras-vis is measured beside us where it is installed
(``pip install tf-keras-vis``): it explains the same network with its class head alone, because it cannot take two heads. So is pytorch-grad-cam
(``pip install grad-cam onnx2torch tf2onnx``), on the same network by way of ONNX, where that way is open: VGG16, ResNet50 and DenseNet121 pass, EfficientNetB0 does not.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import threading
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from xai import training
from xai.models import build_hybrid, target_layer
from xai.network_split import MANY_PIXELS
from xai.saliency import CHUNK, Split, explain, methods_for

BATCHES = (8, 16, 32, 64)
PEERS = ("tf-keras-vis", "pytorch-grad-cam")


def seconds_of(jobs: dict, rounds: int) -> dict[str, float]:
    """Median seconds of each job, taking turns; the first turn, which compiles, does not count."""
    spent = {name: [] for name in jobs}
    for turn in range(rounds + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if turn:
                spent[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in spent.items()}


def private_mib() -> float:
    """Memory that this process alone holds (Linux)."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024


def peak_above(job) -> float:
    """MiB that a job takes at its peak above what the process held before."""
    start, peak, running = private_mib(), [0.0], [True]

    def watch():
        while running[0]:
            peak[0] = max(peak[0], private_mib() - start)
            time.sleep(0.01)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    job()
    running[0] = False
    thread.join()
    return peak[0]


def peers(model: keras.Model, layer: str, images: np.ndarray, classes: np.ndarray) -> dict:
    """Jobs of tf-keras-vis on a network with one head, named as ours are; empty where it is not installed."""
    if not find_spec("tf_keras_vis"):
        return {}
    warnings.filterwarnings("ignore", message="The structure of `inputs`")  # it calls the network with a list
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.scorecam import Scorecam

    def score(output):
        return [output[row, target] for row, target in enumerate(classes[: output.shape[0]])]

    batch = images[..., None]
    makers = {"gradcam": Gradcam(model, clone=False), "gradcampp": GradcamPlusPlus(model, clone=False)}
    jobs = {"tf-keras-vis gradcam + gradcampp": lambda: [make(score, batch, penultimate_layer=layer, seek_penultimate_conv_layer=False) for make in makers.values()]}
    scorecam = Scorecam(model, clone=False)
    # It looks the target up in the output of all masked images: one class for the batch.
    target = int(classes[0])

    def quiet_scorecam():
        with redirect_stdout(io.StringIO()):  # Keras' progress bar
            scorecam(lambda output: output[:, target], batch[:1], penultimate_layer=layer, seek_penultimate_conv_layer=False, batch_size=CHUNK)

    return jobs | {"tf-keras-vis scorecam": quiet_scorecam}


def torch_peers(split: Split, images: np.ndarray, classes: np.ndarray) -> dict:
    """Jobs of pytorch-grad-cam on the same network, taken to PyTorch by ONNX; empty where that is not installed or the network cannot be taken."""
    if not all(map(find_spec, ("torch", "pytorch_grad_cam", "onnx2torch", "tf2onnx"))):
        return {}
    import torch
    from onnx2torch import convert
    from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))

    class Joined(torch.nn.Module):
        """Features and head with the channels first at the cut between them, where the library listens."""

        def __init__(self, features, head):
            super().__init__()
            self.features, self.head, self.cut = features, head, torch.nn.Identity()

        def forward(self, pictures):
            activations = self.features(pictures.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            return self.head(self.cut(activations).permute(0, 2, 3, 1))

    batch, parts = torch.from_numpy(images[:, None]), []
    try:
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
            for name, part in (("features", split.features), ("head", split.head)):
                part.trainable = False  # else normalisation layers are written as they train
                part(np.zeros((1, *part.input.shape[1:]), np.float32))
                part.export(f"{folder}/{name}.onnx", format="onnx", verbose=False)
                parts.append(convert(f"{folder}/{name}.onnx"))
        network = Joined(*parts).eval()
        with torch.no_grad():
            apart = float(np.abs(network(batch).numpy() - split.logits(images)).max())
    except Exception as error:  # whatever the two converters raise
        print(f"pytorch-grad-cam is left out: the network could not be taken to PyTorch ({type(error).__name__}: {str(error)[:100]!r})")
        return {}
    print(f"logits in PyTorch and here differ by {apart:.1e}")
    targets = [ClassifierOutputTarget(int(target)) for target in classes]
    gradient, score = [make(network, [network.cut]) for make in (GradCAM, GradCAMPlusPlus)], ScoreCAM(network, [network.cut])
    score.batch_size = CHUNK

    def quiet_scorecam():
        with redirect_stderr(io.StringIO()):  # its progress bar
            score(batch[:1], targets[:1])

    return {"pytorch-grad-cam gradcam + gradcampp": lambda: [make(batch, targets) for make in gradient], "pytorch-grad-cam scorecam": quiet_scorecam}


def measure(architecture: str, size: int, count: int, rounds: int) -> None:
    """Print one network's lines."""
    images = np.random.default_rng(0).integers(0, 256, (count, size, size)).astype(np.float32)
    model = build_hybrid(architecture, image_size=size)
    split = Split(model, minimum_grid=3)
    channels = target_layer(model, minimum_grid=3).channels
    gradient, score = methods_for(split, ("gradcam", "gradcampp")), methods_for(split, ("scorecam",))
    classes = split.logits(images).argmax(axis=1)
    split.logits_of_many(MANY_PIXELS)  # as after the first few slices
    # In the same turns as the rest: a machine that slows down for a minute must not slow one side of a ratio alone.
    forward = {batch: np.resize(images, (batch, size, size)) for batch in BATCHES}
    jobs = {batch: lambda pictures=pictures: split.logits(pictures) for batch, pictures in forward.items()}
    jobs |= {
        "forward": lambda: split.logits(images),
        "gradcam + gradcampp": lambda: list(explain(gradient, images, batch_size=count)),
        "scorecam": lambda: list(explain(score, images[:1])),
    }
    jobs |= peers(split.model, split.layer, images, classes) | torch_peers(split, images, classes)
    seconds = seconds_of(jobs, rounds)
    per_image = min(seconds.pop(batch) / batch for batch in BATCHES)
    memory = peak_above(jobs["scorecam"])
    activations = np.asarray(split.features(images[:1, ..., None]))[0]
    varied = np.count_nonzero(np.ptp(activations, axis=(0, 1)))
    print(f"\n{architecture}, {size} px, {channels} channels at {split.layer}; forward pass {1000 * per_image:.2f} ms an image at its best batch")
    print(f"Score-CAM explains a slice where {varied} channels are not constant; the others are not asked")
    for name, value in seconds.items():
        images_of = 1 if "scorecam" in name else count
        passes = value / images_of / per_image / (channels if "scorecam" in name else 1)
        ratio = ""
        library, _, job = name.partition(" ")
        if library in PEERS:
            ratio = f"  {value / seconds[job]:.2f} times ours"
        print(f"  {name:<38} {1000 * value / images_of:10.1f} ms an image {passes:8.2f} x passes{ratio}", flush=True)
    print(f"  {'scorecam, peak memory above before':<38} {memory:10.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architectures", nargs="*", default=["efficientnetb0", "densenet121", "vgg16"])
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--images", type=int, default=16, help="explained at once by the gradient methods")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    training.limit_threads()
    for architecture in options.architectures:
        keras.backend.clear_session()
        measure(architecture, options.image_size, options.images, options.rounds)


if __name__ == "__main__":
    main()
