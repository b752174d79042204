"""Chapter 3's files: heatmaps in test order, made again when and only when something that decides them changed."""

import keras
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from small_study import SIZE, write_small_study

from xai import checks, explaining
from xai.data.dataset import Dataset
from xai.paths import LABELS
from xai.profiles import Profile
from xai.saliency import Split, explain, methods_for, randomise_from_top
from xai.training import build, load

METHODS = ("gradcam", "gradcampp", "scorecam")
PROFILE = Profile(
    data={"image_size": SIZE}, training={"architectures": ["vgg16"]},
    saliency={
        "minimum_grid": 4, "scorecam_channels": 5, "test_slices": 9, "validation_slices": 3, "faithfulness_slices": 4,
        "faithfulness_steps": 4, "sanity_slices": 3, "sanity_stages": 3,
    },
)  # fmt: skip


def with_saliency(**changes) -> Profile:
    return PROFILE.model_copy(update={"saliency": PROFILE.saliency.model_copy(update=changes)})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Prepared data and a VGG16 with random weights: what heatmaps mean is no matter here."""
    study = write_small_study(tmp_path_factory.mktemp("explaining") / "study")
    study.model("vgg16").mkdir(parents=True)
    build(PROFILE, "vgg16").save_weights(study.weights("vgg16"))
    yield study
    study.weights("vgg16").unlink()


@pytest.fixture(scope="module")
def model(study):
    return load(study, PROFILE, "vgg16")


@pytest.fixture(scope="module")
def split(study, model):
    return explaining.explain_study(study, PROFILE, "vgg16", model)


def test_a_profile_names_another_target_layer(model):
    named = with_saliency(target_layers={"vgg16": "block1_conv2", "vgg19": "block5_conv4"})
    assert explaining.split_of(named, "vgg16", model).layer == "block1_conv2"
    assert explaining.split_of(PROFILE, "vgg16", model).layer == "evidence"
    with pytest.raises(ValueError, match="^Layer 'block5_conv4' of vgg16 does not exist"):
        explaining.split_of(named, "vgg19", model)


def test_heatmaps_stand_in_test_order(study, model, split):
    """Each explained slice has the map that explaining it alone gives; the others are NaN."""
    dataset = Dataset(study)
    test, explained = dataset.rows("test"), dataset.balanced_rows("test", 9)
    alone = methods_for(Split(model, minimum_grid=4), METHODS, scorecam_channels=5)
    assert split.layer == alone[0].split.layer == "evidence"
    files = {name: np.load(study.heatmaps("vgg16", name)) for name in METHODS}
    for name, maps in files.items():
        assert maps.shape == (35, SIZE, SIZE) and maps.dtype == np.float16
        assert np.array_equal(~np.isnan(maps).any(axis=(1, 2)), np.isin(test, explained)), name
        assert np.array_equal(np.isnan(maps).all(axis=(1, 2)), ~np.isin(test, explained)), name
    for row in explained[[0, 4, 8]]:
        _, expected = next(explain(alone, dataset.images[row : row + 1]))
        for name in METHODS:
            np.testing.assert_allclose(files[name][np.searchsorted(test, row)], expected[name][0], atol=2e-3)
    validation = dataset.balanced_rows("validation", 3)
    _, expected = next(explain(alone, dataset.images[validation]))
    for name in METHODS:
        np.testing.assert_allclose(np.load(study.heatmaps("vgg16", f"validation_{name}")), expected[name], atol=2e-3)


def test_loaded_heatmaps_are_those_of_the_positions(study, split):
    positions = np.searchsorted(Dataset(study).rows("test"), Dataset(study).balanced_rows("test", 9))[[7, 2]]
    loaded = explaining.load_heatmaps(study, "vgg16", ("gradcam",), positions)["gradcam"]
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded, np.load(study.heatmaps("vgg16", "gradcam"))[positions])
    with pytest.raises(ValueError, match="03_saliency of vgg19"):
        explaining.load_heatmaps(study, "vgg19", ("gradcam",), positions)


def times(study) -> dict:
    return {path.name: path.stat().st_mtime_ns for path in study.heatmaps("vgg16", "x").parent.glob("*.npy")}


def test_finished_heatmaps_are_kept(study, model, split):
    before = times(study)
    assert len(before) == 6
    explaining.explain_study(study, PROFILE.model_copy(update={"masks": PROFILE.masks.model_copy(update={"step": 9})}), "vgg16", model)
    assert times(study) == before


@pytest.mark.parametrize("batches", [1, 2])
def test_a_killed_run_goes_on(study, model, split, monkeypatch, batches):
    """Nine test slices are two batches and three validation slices one more; what was noted is not explained again."""
    expected = {path.name: np.load(path) for path in study.heatmaps("vgg16", "x").parent.glob("*.npy")}
    study.heatmaps("vgg16", "state").with_suffix(".json").unlink()
    monkeypatch.setattr(explaining, "SECONDS", -1.0)
    seen = []

    def explain_until(limit):
        def counted(methods, images, **options):
            for part, maps in explain(methods, images, batch_size=8, **options):
                if len(seen) == limit:
                    raise KeyboardInterrupt
                seen.append(part.stop - part.start)
                yield part, maps

        return counted

    monkeypatch.setattr(explaining, "explain", explain_until(batches))
    with pytest.raises(KeyboardInterrupt):
        explaining.explain_study(study, PROFILE, "vgg16", model)
    monkeypatch.setattr(explaining, "explain", explain_until(None))
    explaining.explain_study(study, PROFILE, "vgg16", model)
    assert seen == [8, 1, 3]
    found = {path.name: np.load(path) for path in study.heatmaps("vgg16", "x").parent.glob("*.npy")}
    assert found.keys() == expected.keys() and len(found) == 6
    for name, maps in expected.items():
        # Which slices the faster form of a network is asked with depends on where it was killed: one step of float16.
        np.testing.assert_allclose(np.asarray(found[name], np.float64), np.asarray(maps, np.float64), rtol=2**-9, atol=1e-5)
    assert not list(study.heatmaps("vgg16", "x").parent.glob(".*"))


@pytest.mark.parametrize("change", ["parameter", "weights", "slices", "lost file"])
def test_heatmaps_are_made_again_when_they_are_stale(study, model, split, change):
    explaining.explain_study(study, PROFILE, "vgg16", model)
    before, profile, restore = times(study), PROFILE, []
    if change == "parameter":
        profile = with_saliency(scorecam_channels=2)
    elif change == "weights":
        restore.append((study.weights("vgg16"), study.weights("vgg16").read_bytes()))
        build(PROFILE.model_copy(update={"seed": 5}), "vgg16").save_weights(study.weights("vgg16"))
    elif change == "slices":  # two test slices become training slices: the same weights may face other test slices
        restore.append((study.index, study.index.read_bytes()))
        study.index.write_text(study.index.read_text().replace(",test,", ",train,", 2))
    else:
        study.heatmaps("vgg16", "scorecam").unlink()
    try:
        explaining.explain_study(study, profile, "vgg16", model)
        after = times(study)
        assert after.keys() == before.keys() and all(after[name] > before[name] for name in before)
        assert len(np.load(study.heatmaps("vgg16", "gradcam"))) == len(Dataset(study).rows("test")) == (33 if change == "slices" else 35)
    finally:
        for path, content in restore:
            path.write_bytes(content)


def test_sanity_recomputed(study, model, split):
    """Unrandomised maps are themselves (1.0); later stages equal own runs of them; the trained weights come back."""
    before = model.get_weights()
    table = checks.sanity(study, PROFILE, "vgg16", model)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    assert set(table["method"]) == {"gradcam", "gradcampp"} and len(table) == 2 * 3 * 3
    assert sorted(set(table["layer_fraction"])) == [0.0, 0.5, 1.0]
    images = np.asarray(Dataset(study).images[Dataset(study).balanced_rows("test", 3)], np.float32)
    method = methods_for(Split(model, minimum_grid=4), ("gradcam",))
    classes = method[0].split.logits(images).argmax(axis=1)
    original = next(explain(method, images, classes=classes))[1]["gradcam"]
    whole = table[table["layer_fraction"] == 0.0]["similarity"].to_numpy().reshape(2, 3)
    # A map without evidence is constant and has no ranks.
    assert whole[0] == pytest.approx(np.where(np.ptp(original, axis=(1, 2)) > 0, 1.0, 0.0)) and whole.max() == pytest.approx(1.0)
    for share in (0.5, 1.0):  # each stage starts from the trained network, not from the stage before
        try:
            randomise_from_top(model, share, seed=PROFILE.seed)
            changed = next(explain(method, images, classes=classes))[1]["gradcam"]
        finally:
            model.set_weights(before)
        expected = [spearmanr(a.ravel(), b.ravel()).statistic if np.ptp(a) * np.ptp(b) > 0 else 0.0 for a, b in zip(original, changed)]
        found = table.query(f"method == 'gradcam' and layer_fraction == {share}")["similarity"].to_numpy()
        assert found == pytest.approx(expected, abs=1e-4) and np.abs(found).max() < 0.99
    pd.testing.assert_frame_equal(pd.read_csv(study.saliency_table("vgg16", "sanity")), table)


def test_sanity_of_score_cam_alone(study, model):
    """A study of Score-CAM only still has its sanity check."""
    table = checks.sanity(study, with_saliency(methods=("scorecam",), scorecam_channels=2, sanity_slices=1), "vgg16", model)
    assert set(table["method"]) == {"scorecam"} and len(table) == 3
    assert table.loc[table["layer_fraction"] == 0.0, "similarity"].item() == pytest.approx(1.0)


def test_stability_of_one_change_recomputed(study, split):
    """The class explained is that of the unchanged slice; maps are compared where both show the same tissue."""
    table = checks.stability(study, PROFILE, "vgg16", split)
    assert set(table["method"]) == {"gradcam", "gradcampp", "intensity", "centre"} and len(table) == 4 * 5 * 3
    images = np.asarray(Dataset(study).images[Dataset(study).balanced_rows("test", 3)], np.float32)
    classes = split.logits(images).argmax(axis=1)
    moved = np.zeros_like(images)
    moved[:, 1:, 1:] = images[:, :-1, :-1]
    method = methods_for(split, ("gradcampp",))
    before, after = (next(explain(method, pictures, classes=classes))[1]["gradcampp"] for pictures in (images, moved))
    expected = [spearmanr(a[:-1, :-1].ravel(), b[1:, 1:].ravel()).statistic for a, b in zip(before, after)]
    found = table.query("method == 'gradcampp' and change == 'shift 1 %'")["similarity"].to_numpy()
    assert found == pytest.approx(np.nan_to_num(expected), abs=1e-4)
    assert table.query("method == 'intensity' and change == 'shift 3 %'")["similarity"].to_numpy() == pytest.approx(1)
    pd.testing.assert_frame_equal(pd.read_csv(study.saliency_table("vgg16", "stability")), table)


def test_faithfulness_of_methods_and_baselines(study, model, split):
    """Curves start and end at the probabilities of black, blurred and whole images, computed here from the network."""
    table, curves = checks.faithfulness(study, PROFILE, "vgg16", split)
    assert list(table["method"]) == [*METHODS, "random", "centre", "intensity"] == list(curves)
    assert (table["slices"] == 4).all()
    images = np.asarray(Dataset(study).images[Dataset(study).balanced_rows("test", 4)], np.float32)

    def probability(batch):
        logits = keras.ops.convert_to_numpy(model(batch[..., None], training=False)["classification"])
        exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponent / exponent.sum(axis=1, keepdims=True)

    classes = probability(images).argmax(axis=1)
    whole = probability(images)[np.arange(4), classes].mean()
    black = probability(np.zeros_like(images))[np.arange(4), classes].mean()
    for name in curves:
        x, deletion = curves[name]["deletion"]
        _, insertion = curves[name]["insertion"]
        assert x == pytest.approx(np.linspace(0, 1, 5))
        assert deletion[0] == pytest.approx(whole, abs=1e-4) and insertion[-1] == pytest.approx(whole, abs=1e-4), name
        assert deletion[-1] == pytest.approx(black, abs=1e-4), name
        row = table.set_index("method").loc[name]
        assert row["deletion"] == pytest.approx(np.trapezoid(deletion, x), abs=1e-5)
        assert row["insertion"] == pytest.approx(np.trapezoid(insertion, x), abs=1e-5)
    written = pd.read_csv(study.saliency_table("vgg16", "faithfulness"))
    assert written["insertion"].to_numpy() == pytest.approx(table["insertion"].to_numpy())


def test_cases_to_show_are_explained_slices_one_of_each_class(study, model):
    explaining.explain_study(study, PROFILE, "vgg16", model)
    positions = explaining.cases_to_show(study, PROFILE)
    dataset = Dataset(study)
    assert [dataset.index["label"][row] for row in dataset.rows("test")[positions]] == list(LABELS)
    assert not np.isnan(np.load(study.heatmaps("vgg16", "gradcam"))[positions]).any()
