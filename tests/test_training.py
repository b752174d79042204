"""Training: losses by hand, batches that pair what belongs together, and a kill that changes nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import keras
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, softmax
from small_study import SIZE, write_small_study

from xai.batches import Batches, class_weights, make_augmentation
from xai.data.dataset import Dataset
from xai.losses import MaskDice, mask_loss, smoothed_cross_entropy
from xai.paths import LABELS, StudyError
from xai.predicting import predict
from xai.profiles import Profile, save_profile
from xai.training import _code, build, compiled, describe, fingerprint, fit, load

ARCHITECTURE = "vgg16"  # the one of the nine with the fewest operations: the quickest on tiny images
TRAINING = {
    "architectures": [ARCHITECTURE], "epochs": 2, "batch_size": 2, "learning_rate": 3e-4, "segmentation_weight": 0.5,
    "augment": True,
}  # fmt: skip


def profile_with(*, seed=3, image_size=SIZE, **training) -> Profile:
    return Profile(seed=seed, data={"image_size": image_size}, training=TRAINING | training, saliency={"minimum_grid": 2})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    yield write_small_study(folder / "study")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def history(study):
    """The history of an uninterrupted training."""
    return fit(study, profile_with(), ARCHITECTURE)


# Losses and metrics


def test_mask_loss_by_hand():
    """At logit 0 all probabilities are 1/2, so cross-entropy is ln 2; 4 pixels give (2 x 2 + 1) / (2 + 4 + 1) and 1 / (2 + 0 + 1)."""
    truth = np.stack([np.ones((2, 2, 1)), np.zeros((2, 2, 1))])
    found = keras.ops.convert_to_numpy(mask_loss(truth, np.zeros((2, 2, 2, 1))))
    assert found == pytest.approx([np.log(2) + 1 - 5 / 7, np.log(2) + 1 - 1 / 3], abs=1e-6)


def test_mask_loss_of_certain_answers_is_finite():
    """Certain and right costs nothing; certain and wrong costs |logit| and a Dice of 1 / (1 + 3 + 1)."""
    truth = np.array([1, 0, 0, 0], np.uint8).reshape(1, 2, 2, 1)
    right = np.where(truth, 500.0, -500.0)
    assert keras.ops.convert_to_numpy(mask_loss(truth, right)) == pytest.approx([0.0], abs=1e-6)
    assert keras.ops.convert_to_numpy(mask_loss(truth, -right)) == pytest.approx([500 + 1 - 1 / 5], rel=1e-6)


def test_mask_loss_against_probabilities():
    draw = np.random.default_rng(0)
    truth, logits = draw.integers(0, 2, (5, 6, 6, 1)), draw.normal(0, 3, (5, 6, 6, 1))
    p = expit(logits)
    entropy = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean(axis=(1, 2, 3))
    dice = (2 * (p * truth).sum(axis=(1, 2, 3)) + 1) / ((p + truth).sum(axis=(1, 2, 3)) + 1)
    assert keras.ops.convert_to_numpy(mask_loss(truth, logits)) == pytest.approx(entropy + 1 - dice, rel=1e-5)


def test_smoothed_cross_entropy_by_hand():
    """Logits 0, 0, ln 2 are probabilities 1/4, 1/4, 1/2; with smoothing 0.3 the class gets 0.8 and the others 0.1 each."""
    logits = np.log([[1.0, 1.0, 2.0]]).repeat(2, axis=0).astype(np.float32)
    plain = keras.ops.convert_to_numpy(smoothed_cross_entropy(0.0)(np.array([2, 0]), logits))
    assert plain == pytest.approx([np.log(2), np.log(4)])
    smooth = keras.ops.convert_to_numpy(smoothed_cross_entropy(0.3)(np.array([[2], [0]]), logits))
    assert smooth == pytest.approx([0.8 * np.log(2) + 0.2 * np.log(4), 0.9 * np.log(4) + 0.1 * np.log(2)])


def test_mask_dice_by_hand():
    """Dice 2 x 1 / (2 + 2), then 1 for two empty masks, then 0 for a missed one; a logit of zero is not tumour."""
    truth = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).reshape(3, 2, 2, 1)
    logits = np.array([[2, -2, 2, -2], [-1, -1, -1, -1], [0, 0, 0, 0]], float).reshape(3, 2, 2, 1)
    metric = MaskDice()
    metric.update_state(truth[:2], logits[:2])
    assert float(metric.result()) == pytest.approx(0.75, abs=1e-6)
    metric.update_state(truth[2:], logits[2:])
    assert float(metric.result()) == pytest.approx(0.5, abs=1e-6)


def test_class_weights_by_hand():
    assert class_weights(np.array([0, 0, 0, 1, 2, 2])) == pytest.approx([6 / 9, 2.0, 1.0])
    assert class_weights(np.array([0, 0, 0, 1])) == pytest.approx([4 / 9, 4 / 3, 4 / 3])


def test_learning_rate_warms_up_to_the_architectures_own_rate_and_decays():
    """20 slices in batches of 2 for 10 epochs: 100 steps, 10 of them warm-up."""
    profile = profile_with(epochs=10, learning_rates={"vgg16": 0.04}, warmup_share=0.1)
    image = keras.Input((4, 4, 1))
    tiny = keras.Model(image, {"classification": keras.layers.Dense(3)(keras.layers.Flatten()(image))})
    tiny.output_names_in_order = ("classification",)
    schedules = [compiled(tiny, profile, name, 20).optimizer._learning_rate for name in ("vgg16", "vgg19")]
    for schedule, rate in zip(schedules, (0.04, 3e-4)):
        steps = [float(schedule(step)) for step in (0, 5, 10, 55, 100)]
        assert steps == pytest.approx(np.array([0.05, 0.525, 1.0, 0.51, 0.02]) * rate, rel=1e-4)


# Batches and augmentation


def test_batches_pair_images_masks_and_labels(study):
    """Every image of the small study is unique, so it names its row."""
    dataset = Dataset(study)
    rows = dataset.rows("train")
    weights = np.array([0.5, 1.0, 2.0], np.float32)
    batches = Batches(dataset, rows, batch_size=5, heads=("classification", "segmentation"), weights=weights, shuffle_seed=[3, 0])
    assert len(batches) == 3
    seen = []
    for images, targets, sample_weights in (batches[number] for number in range(3)):
        for image, mask, label, weight in zip(images, targets["segmentation"], targets["classification"], sample_weights["classification"]):
            matches = np.flatnonzero((np.asarray(dataset.images) == image[..., 0]).all(axis=(1, 2)))
            assert len(matches) == 1
            row = int(matches[0])
            seen.append(row)
            assert np.array_equal(mask[..., 0], dataset.masks[row])
            assert LABELS[label] == dataset.index["label"][row]
            assert weight == weights[label]
        assert np.array_equal(sample_weights["segmentation"], np.ones(len(images)))
    assert sorted(seen) == list(rows) and seen != list(rows)


@pytest.mark.parametrize("heads", [("classification", "segmentation"), ("segmentation",)])
@pytest.mark.parametrize("weights", [None, np.array([0.5, 1.0, 2.0], np.float32)], ids=["plain", "weighted"])
def test_fit_reads_the_same_batches_without_automatic_tuning(study, heads, weights):
    """A tuning thread would hold up the end of every epoch."""
    dataset = Dataset(study)
    batches = Batches(dataset, dataset.rows("train"), batch_size=5, heads=heads, weights=weights, shuffle_seed=[3, 0])
    pipeline = batches.for_fit()
    assert pipeline.options().autotune.enabled is False and int(pipeline.cardinality()) == len(batches) == 3
    for found, expected in zip(pipeline.as_numpy_iterator(), (batches[number] for number in range(3)), strict=True):
        for left, right in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
            np.testing.assert_array_equal(left, right)


def test_with_jax_threads_make_batches_of_one_size_in_order(study, monkeypatch):
    """JAX compiles a step for each number of slices; the last batch of a shuffled epoch is filled up, that of validation is not."""
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    dataset = Dataset(study)
    rows = dataset.rows("train")
    options = {"batch_size": 5, "heads": ("classification", "segmentation"), "augment": make_augmentation(7)}
    batches = Batches(dataset, rows, shuffle_seed=[3, 0], **options)
    assert len(rows) % 5 and batches.for_fit() is batches and batches.workers >= 2
    assert len(batches.order) == 5 * len(batches) and set(batches.order) == set(rows)
    assert list(batches.order[len(rows) :]) == list(batches.order[: -len(rows) % 5])
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    made = [batches[number] for number in reversed(range(len(batches)))][::-1]
    for found, expected in zip(PyDatasetAdapter(batches).get_numpy_iterator(), made, strict=True):
        for left, right in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
            assert len(left) == 5
            np.testing.assert_array_equal(left, right)
    assert list(Batches(dataset, rows, **options).order) == list(rows)


def test_order_of_an_epoch_depends_on_seed_and_epoch_alone(study):
    dataset = Dataset(study)
    rows = dataset.rows("test")

    def order(seed, epoch):
        np.random.seed(np.random.randint(1000))  # whatever state the process is in
        return list(Batches(dataset, rows, batch_size=4, heads=("classification",), shuffle_seed=[seed, epoch]).order)

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1) and order(1, 0) != order(2, 0)
    assert list(Batches(dataset, rows, batch_size=4, heads=("classification",)).order) == list(rows)


@pytest.fixture(params=["keras_cv", "opencv", "strong"])
def augmentation(request, monkeypatch):
    """`make_augmentation` by KerasCV, as on a machine that has none, and the strong one."""
    if request.param == "strong":
        return partial(make_augmentation, strong=True)
    if request.param == "opencv":
        monkeypatch.setitem(sys.modules, "keras_cv", None)
        monkeypatch.setitem(sys.modules, "keras_cv.layers", None)
    else:
        pytest.importorskip("keras_cv")
    return make_augmentation


def corner_masks(count: int) -> np.ndarray:
    """An L in the upper left quarter: no turn or flip maps it on itself. (count, 64, 64, 1)."""
    masks = np.zeros((count, 64, 64, 1), np.float32)
    masks[:, 12:30, 12:18] = 1
    masks[:, 24:30, 12:26] = 1
    return masks


def test_augmentation_moves_image_and_mask_together(augmentation):
    masks = corner_masks(24)
    images, moved = augmentation(5)(masks * 200, masks, np.zeros(24, bool))
    assert images.dtype == moved.dtype == np.float32 and images.shape == moved.shape == masks.shape
    assert set(np.unique(moved)) == {0.0, 1.0} and images.min() >= 0 and images.max() <= 255
    bright = images > 75  # gamma, gain and lift leave the background below 13 and the tumour above 110; interpolation lies between
    if isinstance(augmentation, partial):  # darker or brighter by half, with noise
        middle = [(image[mask > 0].mean() + image[mask == 0].mean()) / 2 for image, mask in zip(images, moved)]
        bright = images > np.reshape(middle, (-1, 1, 1, 1))
    dice = 2 * (bright & (moved > 0)).sum(axis=(1, 2, 3)) / (bright.sum(axis=(1, 2, 3)) + moved.sum(axis=(1, 2, 3)))
    assert dice.mean() > 0.92 and dice.min() > 0.8  # below one by the nearest-pixel rounding along the outline of thin arms
    still = 2 * (masks * moved).sum(axis=(1, 2, 3)) / (masks.sum(axis=(1, 2, 3)) + moved.sum(axis=(1, 2, 3)))
    assert (still < 0.9).mean() > 0.5, "nothing moved"
    assert len({image.tobytes() for image in moved}) > 20, "all slices of a batch moved alike"


def test_augmentation_flips_only_what_may_be_flipped(augmentation):
    """The L lies in the left half; mirrored it lies in the right one, image and mask together."""
    masks = corner_masks(64)
    may_flip = np.arange(64) % 2 == 0
    images, moved = augmentation(12)(masks * 200, masks, may_flip)
    right = np.array([np.nonzero(mask[..., 0])[1].mean() > 32 for mask in moved])
    bright = np.array([np.nonzero(image[..., 0] > 75)[1].mean() > 32 for image in images])
    assert np.array_equal(right, bright) and not right[~may_flip].any()
    assert 8 <= right[may_flip].sum() <= 24  # of 32, each with probability one half


def test_batches_flip_axial_and_coronal_slices_alone(study):
    dataset = Dataset(study)
    dataset.index["plane"] = np.resize(["axial", "coronal", "sagittal", "unknown"], len(dataset.index))
    seen = []

    def augment(images, masks, may_flip, number):
        seen.append(may_flip)
        return images, masks

    rows = np.array([3, 0, 2, 1])
    Batches(dataset, rows, batch_size=4, heads=("segmentation",), augment=augment)[0]
    assert seen[0].tolist() == [False, True, False, True]


def test_augmentation_never_turns_far_or_stands_heads_on_their_top(augmentation):
    """The long arm stays on the left and runs down, the short arm goes right from its lower end."""
    masks = corner_masks(64)
    _, moved = augmentation(11)(masks * 200, masks, np.zeros(64, bool))
    for mask in moved[..., 0]:
        rows, columns = np.nonzero(mask)
        if isinstance(augmentation, partial):  # bent as well, the two arms no longer tell an angle; stood on its top it would lie at (42, 46)
            assert rows.mean() < 40 and columns.mean() < 38
        else:
            assert rows.mean() < 34 and columns.mean() < 32
            upper, lower = columns[rows < np.quantile(rows, 0.3)], columns[rows > np.quantile(rows, 0.7)]
            assert lower.mean() > upper.mean() + 1


def test_augmentation_is_reproduced_by_its_seed(augmentation):
    masks = corner_masks(4)
    first, second, other = (augmentation(seed)(masks * 200, masks, np.ones(4, bool)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second))
    assert not np.array_equal(first[1], other[1])


def test_augmentation_of_a_batch_depends_on_its_number_and_on_no_batch_before_it(augmentation):
    masks = corner_masks(4)
    augment, again = augmentation(1), augmentation(1)
    batches = [augment(masks * 200, masks, np.ones(4, bool), number) for number in (0, 1, 2)]
    for number in (2, 0, 1):
        for found, expected in zip(again(masks * 200, masks, np.ones(4, bool), number), batches[number]):
            np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(batches[0][1], batches[1][1])


def test_opencv_moves_heads_as_far_as_kerascv(monkeypatch):
    """4,000 bars on the right of the middle, moved by both: place, angle and length spread alike, and around where the bar was."""
    pytest.importorskip("keras_cv")
    masks = np.zeros((4000, 64, 64, 1), np.float32)
    masks[:, 30:34, 28:52] = 1
    rows, columns = np.mgrid[:64, :64] - 31.5
    found = {}
    for name in ("keras_cv", "opencv"):
        if name == "opencv":
            monkeypatch.setitem(sys.modules, "keras_cv", None)
            monkeypatch.setitem(sys.modules, "keras_cv.layers", None)
        moved = make_augmentation(3)(masks, masks, np.zeros(len(masks), bool))[1][..., 0]
        moved /= moved.sum(axis=(1, 2), keepdims=True)
        row, column = (moved * rows).sum(axis=(1, 2)), (moved * columns).sum(axis=(1, 2))
        both, along, across = ((moved * a * b).sum(axis=(1, 2)) for a, b in ((rows, columns), (columns, columns), (rows, rows)))
        angle = np.arctan2(2 * (both - row * column), along - column**2 - across + row**2) / 2
        found[name] = np.stack([row, column, np.rad2deg(angle), np.sqrt(12 * (along - column**2)) / np.cos(angle)])
    kerascv, opencv = found.values()
    assert not np.allclose(kerascv, opencv), "one of them moved both"
    # Pixels, pixels, degrees, pixels; the ends of each range are drawn rarely.
    for share, within in ((0.001, (0.9, 0.9, 1.5, 0.9)), (0.05, (0.4, 0.4, 0.8, 0.4)), (0.5, (0.3, 0.3, 0.6, 0.3))):
        for end in (share, 1 - share):
            difference = np.abs(np.quantile(kerascv, end, axis=1) - np.quantile(opencv, end, axis=1))
            assert (difference < within).all(), (end, difference)
    assert np.allclose(opencv.mean(axis=1), [0, 8, 0, 24], atol=0.4)
    assert np.allclose(np.ptp(opencv, axis=1), [2 * (5.1 + 2.4), 2 * 6.5, 2 * 18, 8.4], rtol=0.25)


# Fit


def weight_file_values(path) -> dict[str, np.ndarray]:
    """All arrays of a Keras weights file, by their place in it."""
    import h5py

    values = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: values.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return values


def test_history_adds_up(history, study):
    """Loss = classification + lambda x segmentation, in training and in validation."""
    assert list(history["epoch"]) == [1, 2]
    for prefix in ("", "val_"):
        total = history[f"{prefix}classification_loss"] + 0.5 * history[f"{prefix}segmentation_loss"]
        assert history[f"{prefix}loss"].to_numpy() == pytest.approx(total.to_numpy(), rel=1e-4)
    written = pd.read_csv(study.history(ARCHITECTURE))
    pd.testing.assert_frame_equal(written, history, check_dtype=False)
    seconds = json.loads(study.seconds(ARCHITECTURE).read_text())
    assert seconds["epochs"] == 2 and seconds["best_epoch"] == 1 + int(history["val_score"].to_numpy().argmax())


def test_kept_weights_are_those_best_on_validation(history, study):
    """Accuracy and Dice on validation, recomputed from the kept weights in numpy, have the largest mean of the history."""
    dataset = Dataset(study)
    rows = dataset.rows("validation")
    outputs = load(study, profile_with(), ARCHITECTURE)(np.asarray(dataset.images[rows], np.float32)[..., None], training=False)
    accuracy = (keras.ops.convert_to_numpy(outputs["classification"]).argmax(axis=1) == dataset.labels(rows)).mean()
    found, truth = keras.ops.convert_to_numpy(outputs["segmentation"])[..., 0] > 0, np.asarray(dataset.masks[rows]) > 0
    dice = (2 * (found & truth).sum(axis=(1, 2)) / (found.sum(axis=(1, 2)) + truth.sum(axis=(1, 2)))).mean()
    best = history.loc[history["val_score"].idxmax()]
    assert best["val_score"] == history["val_score"].max() == pytest.approx((accuracy + dice) / 2, rel=1e-3)
    assert (best["val_accuracy"], best["val_dice"]) == pytest.approx((accuracy, dice), rel=1e-3)


class Interrupted:
    """A standard output at which the user presses Ctrl-C when a certain line comes."""

    def __init__(self, line: str) -> None:
        self.line = line

    def write(self, text: str) -> None:
        if text.startswith(self.line):
            raise KeyboardInterrupt

    def flush(self) -> None:
        pass


def test_interrupted_training_continues_as_if_nothing_had_happened(history, study, tmp_path, monkeypatch):
    """Stopped at the end of epoch 2, before its checkpoint: epoch 2 is repeated from the checkpoint of epoch 1.

    Weights, the optimiser's moments and step, the order of batches, augmentation and dropout must all be those of the first time.
    """
    shutil.copytree(study.data, tmp_path / "again" / "data")
    again = type(study)(tmp_path / "again")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", Interrupted("epoch 2/2"))
            with pytest.raises(KeyboardInterrupt):
                fit(again, profile_with(), ARCHITECTURE)
        state = json.loads((again.model(ARCHITECTURE) / "state.json").read_text())
        assert state["epoch"] == 1 and not state["done"]
        keras.utils.set_random_seed(99)  # another process has other random states
        resumed = fit(again, profile_with(), ARCHITECTURE)
        pd.testing.assert_frame_equal(resumed.drop(columns="seconds"), history.drop(columns="seconds"), rtol=1e-4)
        first, second = weight_file_values(study.weights(ARCHITECTURE)), weight_file_values(again.weights(ARCHITECTURE))
        assert first.keys() == second.keys() and len(first) > 30
        for name in first:
            np.testing.assert_allclose(second[name], first[name], atol=2e-5, err_msg=name)
        assert not list(again.model(ARCHITECTURE).glob("checkpoint*")), "a finished training keeps no checkpoint"
    finally:
        shutil.rmtree(tmp_path / "again")


def test_a_training_killed_in_the_middle_of_an_epoch_ends_with_the_same_weights(history, study, tmp_path):
    """SIGKILL to another process as soon as it has reported its first epoch; weights agree to 2e-5 with those of the undisturbed run."""
    shutil.copytree(study.data, tmp_path / "killed" / "data")
    killed = type(study)(tmp_path / "killed")
    save_profile(profile_with(), killed.profile)
    script = f"from xai.paths import Study; from xai import profiles, training; s = Study({str(killed.root)!r}); training.fit(s, profiles.load_profile(s.profile), {ARCHITECTURE!r})"
    try:
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}  # with one thread, as here (conftest): several add in changing order
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment) as process:
            for line in process.stdout:
                if line.startswith("epoch 1/2"):
                    # Its checkpoint is written after the line.
                    state = killed.model(ARCHITECTURE) / "state.json"
                    while not state.exists() and process.poll() is None:
                        time.sleep(0.005)
                    process.kill()
                    break
        assert process.returncode == -signal.SIGKILL
        assert json.loads(state.read_text())["epoch"] == 1 and not killed.history(ARCHITECTURE).exists()
        resumed = fit(killed, profile_with(), ARCHITECTURE)
        pd.testing.assert_frame_equal(resumed.drop(columns="seconds"), history.drop(columns="seconds"), rtol=1e-4, check_dtype=False)
        first, second = weight_file_values(study.weights(ARCHITECTURE)), weight_file_values(killed.weights(ARCHITECTURE))
        for name in first:
            np.testing.assert_allclose(second[name], first[name], atol=2e-5, err_msg=name)
    finally:
        shutil.rmtree(tmp_path / "killed")


def test_finished_training_is_not_repeated(history, study):
    before = {path: path.stat().st_mtime_ns for path in study.model(ARCHITECTURE).iterdir() if path.name != ".lock"}
    again = fit(study, profile_with(), ARCHITECTURE)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    pd.testing.assert_frame_equal(again, history)


def test_changed_parameter_trains_again(history, study, tmp_path):
    """One epoch instead of two is another training, and its files replace the old ones."""
    shutil.copytree(study.root, tmp_path / "changed")
    changed = type(study)(tmp_path / "changed")
    try:
        profile = profile_with(epochs=1, batch_size=12, augment=False, run_eagerly=True)
        result = fit(changed, profile, ARCHITECTURE)
        assert len(result) == 1 and len(pd.read_csv(changed.history(ARCHITECTURE))) == 1
        state = json.loads((changed.model(ARCHITECTURE) / "state.json").read_text())
        assert state["done"] and state["fingerprint"] == fingerprint(changed, profile, ARCHITECTURE, "hybrid")
    finally:
        shutil.rmtree(tmp_path / "changed")


def test_more_cycles_go_on_from_the_best_weights_of_a_finished_run(history, study, tmp_path):
    """The first two epochs stay as they were; the third starts a new warm-up from the kept weights, not from the last ones."""
    shutil.copytree(study.root, tmp_path / "more")
    more = type(study)(tmp_path / "more")
    try:
        kept = weight_file_values(more.weights(ARCHITECTURE))
        # A rate of zero in the second cycle would show where it starts; the smallest allowed one comes near.
        result = fit(more, profile_with(cycles=2), ARCHITECTURE)
        assert list(result["epoch"]) == [1, 2, 3, 4]
        pd.testing.assert_frame_equal(result.iloc[:2], history, check_dtype=False)
        state = json.loads((more.model(ARCHITECTURE) / "state.json").read_text())
        assert state["done"] == 2 and state["epoch"] == 4 and state["best"] >= history["val_score"].max()
        again = fit(more, profile_with(cycles=2), ARCHITECTURE)
        pd.testing.assert_frame_equal(again, result, check_dtype=False)
        assert len(fit(more, profile_with(cycles=1), ARCHITECTURE)) == 4, "fewer cycles than were run are no reason to start again"
        if state["best_epoch"] <= 2:
            assert all(np.array_equal(values, kept[name]) for name, values in weight_file_values(more.weights(ARCHITECTURE)).items())
    finally:
        shutil.rmtree(tmp_path / "more")


def test_a_new_cycle_starts_from_the_best_weights(study, tmp_path, monkeypatch):
    """Seen in the weights themselves at the start of epoch 2, the first of the second cycle."""
    shutil.copytree(study.data, tmp_path / "cycle" / "data")
    other = type(study)(tmp_path / "cycle")
    starts = []
    plain_fit = keras.Model.fit

    def watched(model, *arguments, **keywords):
        starts.append(([np.array(v) for v in model.get_weights()], int(keras.ops.convert_to_numpy(model.optimizer.iterations))))
        return plain_fit(model, *arguments, **keywords)

    monkeypatch.setattr(keras.Model, "fit", watched)
    try:
        profile = profile_with(epochs=1, cycles=2, batch_size=12, augment=False, run_eagerly=True)
        fit(other, profile.model_copy(update={"training": profile.training.model_copy(update={"cycles": 1})}), ARCHITECTURE)
        kept = load(other, profile, ARCHITECTURE).get_weights()
        fit(other, profile, ARCHITECTURE)
        weights, steps = starts[1]
        assert len(starts) == 2 and steps == 0, "the optimiser is a fresh one"
        assert all(np.array_equal(a, b) for a, b in zip(weights, kept)) and not all(np.array_equal(a, b) for a, b in zip(weights, starts[0][0]))
    finally:
        shutil.rmtree(tmp_path / "cycle")


def test_mixed_precision_trains_in_it_and_is_loaded_without(study, tmp_path):
    profile = profile_with(precision="mixed_bfloat16", epochs=1, batch_size=12, augment=False, run_eagerly=True)
    model = build(profile, ARCHITECTURE)
    assert keras.config.dtype_policy().name == "float32", "the policy of the process is put back"
    assert model.get_layer("block3_conv1").compute_dtype == "bfloat16" and model.get_layer("block3_conv1").kernel.dtype == "float32"
    assert {str(output.dtype) for output in model.output.values()} == {"float32"}, "losses are computed in single precision"
    own = profile_with(precision="mixed_bfloat16", precisions={ARCHITECTURE: "float32"})
    assert build(own, ARCHITECTURE).get_layer("block3_conv1").compute_dtype == "float32"
    shutil.copytree(study.data, tmp_path / "mixed" / "data")
    mixed = type(study)(tmp_path / "mixed")
    try:
        assert np.isfinite(fit(mixed, profile, ARCHITECTURE)["loss"]).all()
        assert load(mixed, profile, ARCHITECTURE).get_layer("block3_conv1").compute_dtype == "float32"
    finally:
        shutil.rmtree(tmp_path / "mixed")


def test_a_network_with_published_encoder_weights_is_loaded_with_their_input_scaling(study, tmp_path):
    """VGG's published weights expect channel means taken off; loaded without them, the same weights say something else."""
    encoder = keras.applications.VGG16(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    encoder.save_weights(tmp_path / "encoder.weights.h5")
    profile = profile_with(encoder_weights=str(tmp_path / "encoder.weights.h5"))
    model = build(profile, ARCHITECTURE)
    other = type(study)(tmp_path / "published")
    other.weights(ARCHITECTURE).parent.mkdir(parents=True)
    model.save_weights(other.weights(ARCHITECTURE))
    (tmp_path / "encoder.weights.h5").unlink()  # not needed any more once the network was trained
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 1)).astype(np.float32)
    expected, found = (net(images, training=False)["classification"] for net in (model, load(other, profile, ARCHITECTURE)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.abs(np.asarray(load(other, profile_with(), ARCHITECTURE)(images, training=False)["classification"]) - expected).max() > 1e-3


def test_a_training_goes_on_from_a_network_of_another_size(study, history, tmp_path, monkeypatch):
    """Its first step starts from the weights that the former one kept, for every variant with both heads; others start anew."""
    other = type(study)(tmp_path / "larger")
    shutil.copytree(study.data, other.data)
    for file in (other.images, other.masks):
        np.save(file, np.load(file).repeat(2, axis=1).repeat(2, axis=2))
    starts = []
    monkeypatch.setattr(keras.Model, "fit", lambda model, *_, **__: starts.append(model.get_weights()))
    profile = profile_with(image_size=2 * SIZE, start_from=str(study.weights(ARCHITECTURE)), epochs=1)
    for variant in ("hybrid", "classification_only"):
        with pytest.raises(AttributeError):  # there is no history to read: the start is all that is asked for
            fit(other, profile, ARCHITECTURE, variant=variant)
    kept = load(study, profile_with(), ARCHITECTURE).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(starts[0], kept, strict=True))
    assert not np.array_equal(starts[1][0], kept[0])


@pytest.mark.parametrize(("name", "says"), [("nowhere.weights.h5", "does not exist"), ("encoder.weights.h5", "does not hold the weights of a two-headed vgg16")])
def test_a_former_network_that_does_not_fit_is_one_sentence(study, tmp_path, name, says):
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(tmp_path / "encoder.weights.h5")
    other = type(study)(tmp_path / "unfit")
    shutil.copytree(study.data, other.data)
    with pytest.raises(StudyError, match=f"`training.start_from` is .*{name}, which {says}.*; give the model.weights.h5"):
        fit(other, profile_with(start_from=str(tmp_path / name)), ARCHITECTURE)


def test_a_former_network_that_learned_from_test_patients_is_refused(study, history, tmp_path):
    other = type(study)(tmp_path / "resplit")
    shutil.copytree(study.data, other.data)
    index = pd.read_csv(other.index, dtype=str, keep_default_na=False)
    index["split"] = index["split"].replace({"train": "test", "test": "train"})
    index.to_csv(other.index, index=False)
    with pytest.raises(StudyError, match="whose study trained on [0-9]+ of the patients that validate or test this one; give a network of the same split"):
        fit(other, profile_with(start_from=str(study.weights(ARCHITECTURE))), ARCHITECTURE)


def test_answers_averaged_over_views_are_written_and_decide_no_training(study, history):
    plain = profile_with()
    profile = profile_with(test_time_augmentation=True)
    assert fingerprint(study, plain, ARCHITECTURE, "hybrid") == fingerprint(study, profile, ARCHITECTURE, "hybrid")
    try:
        averages, masks = predict(study, profile, ARCHITECTURE), np.load(study.test_masks(ARCHITECTURE))
    finally:
        alone, single = predict(study, plain, ARCHITECTURE), np.load(study.test_masks(ARCHITECTURE))
    columns = [f"prob_{label}" for label in LABELS]
    assert np.allclose(averages[columns].sum(axis=1), 1, atol=1e-5) and not np.allclose(averages[columns], alone[columns], atol=1e-6)
    assert masks.shape == single.shape and masks.dtype == single.dtype and not np.array_equal(masks, single)


def test_comments_and_docstrings_are_not_what_a_module_does(tmp_path):
    first, second, third = (tmp_path / f"{name}.py" for name in "abc")
    first.write_text('"""One."""\n\ndef f(x):\n    """Says."""\n    return x + 1  # adds\n\nclass C:\n    """Only this."""\n')
    second.write_text('def f(x):\n\n    # why\n    return (x\n            + 1)\n\nclass C:\n    """Other."""\n')
    third.write_text("def f(x):\n    return x + 2\n\nclass C:\n    pass\n")
    assert _code(first) == _code(second) != _code(third)


def test_divergence_is_one_sentence_and_leaves_no_weights(study):
    """A weight of 10^38 for the mask loss overflows in the first step, as a learning rate far too high does later."""
    with pytest.raises(ValueError, match=r"^vgg19 diverged in epoch 1: .*lower `training.learning_rates.vgg19`"):
        fit(study, profile_with(segmentation_weight=3e38, augment=False, epochs=1, batch_size=12, run_eagerly=True), "vgg19")
    assert not study.weights("vgg19").exists()


@pytest.mark.parametrize("change", [
    {"seed": 4}, {"image_size": 48}, {"epochs": 3}, {"learning_rate": 1e-4}, {"segmentation_weight": 1.0}, {"augment": False},
    {"augment": "strong"}, {"start_from": "former.weights.h5"}, {"dropout": 0.5}, {"batch_norm_momentum": 0.9}, {"precision": "mixed_bfloat16"}, {"label_smoothing": 0.1}, {"weight_decay": 0.1},
    {"learning_rates": {ARCHITECTURE: 1e-4}}, {"precisions": {ARCHITECTURE: "mixed_bfloat16"}},
])  # fmt: skip
def test_fingerprint_sees_what_decides_a_training(study, change):
    base = fingerprint(study, profile_with(), ARCHITECTURE, "hybrid")
    assert fingerprint(study, profile_with(**change), ARCHITECTURE, "hybrid") != base


@pytest.mark.parametrize("change", [{"cycles": 3}, {"learning_rates": {"xception": 1e-4}}, {"precisions": {"xception": "mixed_bfloat16"}}, {"ablation_seeds": 2}])
def test_fingerprint_ignores_what_other_networks_are_told_and_how_long_it_goes_on(study, change):
    base = fingerprint(study, profile_with(), ARCHITECTURE, "hybrid")
    assert fingerprint(study, profile_with(**change), ARCHITECTURE, "hybrid") == base


def test_fingerprint_sees_architecture_variant_and_data(study, tmp_path):
    profile = profile_with()
    prints = {fingerprint(study, profile, name, variant) for name in ("vgg16", "vgg19") for variant in ("hybrid", "classification_only")}
    assert len(prints) == 4
    for name in ("index.csv", "masks.npy"):
        shutil.copytree(study.data, tmp_path / name / "data")
        other = type(study)(tmp_path / name)
        if name == "index.csv":
            other.index.write_text(other.index.read_text().replace("test", "train", 1))
        else:
            masks = np.load(other.masks)
            masks[int(Dataset(study).rows("train")[0]), 0, 0] ^= 1
            np.save(other.masks, masks)
        assert fingerprint(other, profile, ARCHITECTURE, "hybrid") not in prints, name


def test_fingerprint_ignores_what_later_chapters_read(study):
    profile = profile_with()
    later = {
        "atlas": {"validation_cases": 5}, "masks": {"step": 7}, "reports": {"findings": 3}, "saliency": {"minimum_grid": 3},
        "evaluation": {"bootstrap": 20}, "training": TRAINING | {"architectures": ["vgg16", "xception"], "ablation": ["vgg16"]},
        "data": {"image_size": SIZE},
    }  # fmt: skip
    base = fingerprint(study, profile, ARCHITECTURE, "hybrid")
    for section in later.keys() - {"training", "data"}:
        changed = profile.model_copy(update={section: type(getattr(profile, section))(**later[section])})
        assert fingerprint(study, changed, ARCHITECTURE, "hybrid") == base, section
    more = profile.training.model_copy(update={"architectures": ("vgg16", "vgg19"), "ablation": ("vgg16",)})
    assert fingerprint(study, profile.model_copy(update={"training": more}), ARCHITECTURE, "hybrid") == base


# Predict and describe


def test_predictions_stand_in_dataset_order(history, study):
    """Each row is what the network says of that slice alone, also beyond the first batch of 32."""
    table = predict(study, profile_with(), ARCHITECTURE)
    dataset = Dataset(study)
    rows = dataset.rows("test")
    assert list(table["id"]) == list(dataset.index["id"][rows]) and list(table["label"]) == list(dataset.index["label"][rows])
    probabilities = table[[f"prob_{label}" for label in LABELS]].to_numpy()
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(rows)), abs=1e-5)
    masks = np.load(study.test_masks(ARCHITECTURE))
    assert masks.shape == (35, SIZE, SIZE) and masks.dtype == np.float16
    model = load(study, profile_with(), ARCHITECTURE)
    for position in (0, 17, 31, 32, 34):
        outputs = model(np.asarray(dataset.images[rows[position]], np.float32)[None, ..., None], training=False)
        logits = keras.ops.convert_to_numpy(outputs["classification"])[0]
        assert probabilities[position] == pytest.approx(softmax(logits), abs=1e-5)
        drawn = expit(keras.ops.convert_to_numpy(outputs["segmentation"])[0, ..., 0])
        assert masks[position].astype(float) == pytest.approx(drawn, abs=2e-3)
    written = pd.read_csv(study.predictions(ARCHITECTURE))
    assert written[table.columns[4:]].to_numpy() == pytest.approx(probabilities, abs=1e-6)


def test_prediction_of_single_heads(study):
    """The ablation's variants write what they have and nothing else."""
    for variant, has_masks in (("classification_only", False), ("segmentation_only", True)):
        study.model("vgg16", variant).mkdir(parents=True)
        build(profile_with(), "vgg16", variant).save_weights(study.weights("vgg16", variant))
        table = predict(study, profile_with(), "vgg16", variant=variant)
        assert ("prob_glioma" in table.columns) is not has_masks
        assert study.predictions("vgg16", variant).exists() is not has_masks
        assert study.test_masks("vgg16", variant).exists() is has_masks


def test_prediction_without_training_names_the_chapter(study):
    with pytest.raises(ValueError, match="02_training of densenet121"):
        load(study, profile_with(), "densenet121")


def test_described_facts(history, study):
    """VGG16 at 32 px: 2 x 2 cells of 512 channels at the end; sizes 16, 8, 4, 2 feed the decoder."""
    model = load(study, profile_with(), ARCHITECTURE)
    facts = describe(study, profile_with(), ARCHITECTURE, model)
    assert (facts["target_layer"], facts["grid"], facts["channels"]) == ("evidence", 8, 128)
    assert facts["parameters"] == sum(int(np.prod(weight.shape)) for weight in model.weights)
    assert [layer.size for layer in facts["skips"]] == [2, 4, 8, 16]
    assert json.loads((study.model(ARCHITECTURE) / "network.json").read_text())["target_layer"] == "evidence"
