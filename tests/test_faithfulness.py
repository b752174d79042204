"""Faithfulness metrics with explainers whose score theory gives, and curves recomputed one image at a time."""

import numpy as np
import pytest
from scipy.interpolate import griddata
from scipy.stats import entropy, spearmanr

from xai.metrics import faithfulness
from xai.metrics.faithfulness import information_curves, insertion_deletion, rank_similarity, sparse_blur, ssim

SIZE = 16


@pytest.fixture
def scene():
    """Noise images, a target of a quarter of the pixels, and a network that counts how much of the target it sees.

    Its class 0 has the probability (share of target pixels that equal the original image).
    """
    generator = np.random.default_rng(0)
    image = generator.integers(1, 256, (SIZE, SIZE), dtype=np.uint8)
    target = np.zeros((SIZE, SIZE), bool)
    target[4:12, 4:12] = True
    images = np.stack([image, image, image])

    def predict(batch):
        seen = (batch == image)[:, target].mean(axis=1)
        return np.stack([seen, (1 - seen) * 0.6, (1 - seen) * 0.4], axis=1)

    return predict, images, target


def explainers(target, images):
    return {
        "perfect": np.broadcast_to(target.astype(np.float32), images.shape),
        "worst": np.broadcast_to(1 - target.astype(np.float32), images.shape),
    }


CLASSES = np.zeros(3, int)


def test_deletion_of_perfect_and_worst_explainers(scene):
    """The target is a quarter t of the image. Deleting it first gives the area t/2, last 1 - t/2."""
    predict, images, target = scene
    maps = explainers(target, images)
    perfect = insertion_deletion(predict, images, maps["perfect"], CLASSES, steps=32)
    worst = insertion_deletion(predict, images, maps["worst"], CLASSES, steps=32)
    assert perfect.deletion_auc == pytest.approx([1 / 8] * 3)
    assert worst.deletion_auc == pytest.approx([7 / 8] * 3)
    expected = np.clip(1 - 4 * perfect.x, 0, 1)
    assert perfect.deletion == pytest.approx(np.stack([expected] * 3))
    assert perfect.x == pytest.approx(np.linspace(0, 1, 33))


def test_insertion_of_perfect_and_worst_explainers(scene):
    """Insertion starts from the blurred image, in which the network still sees the pixels that blurring left equal."""
    predict, images, target = scene
    maps = explainers(target, images)
    perfect = insertion_deletion(predict, images, maps["perfect"], CLASSES, steps=32)
    worst = insertion_deletion(predict, images, maps["worst"], CLASSES, steps=32)
    assert perfect.insertion_auc == pytest.approx([7 / 8] * 3)
    assert worst.insertion_auc == pytest.approx([1 / 8] * 3)
    assert perfect.insertion[:, 0] == pytest.approx([0] * 3) and perfect.insertion[:, -1] == pytest.approx([1] * 3)


def test_insertion_follows_the_explained_class(scene):
    predict, images, target = scene
    curves = insertion_deletion(predict, images, explainers(target, images)["perfect"], np.array([0, 1, 2]), steps=4)
    assert curves.deletion[:, -1] == pytest.approx([0, 0.6, 0.4])
    assert curves.insertion[:, -1] == pytest.approx([1, 0, 0])


def test_ties_are_broken_at_random_and_not_by_place(scene):
    """A constant heatmap is a random order: the expected area is 1/2 even for a target in the first rows."""
    _, images, _ = scene
    image, target = images[0], np.zeros((SIZE, SIZE), bool)
    target[:4] = True
    images = np.repeat(images[:1], 40, axis=0)
    predict = lambda batch: np.stack([(batch == image)[:, target].mean(axis=1)] * 2, axis=1)
    curves = insertion_deletion(predict, images, np.zeros(images.shape), np.zeros(40, int), steps=16)
    assert curves.deletion_auc.mean() == pytest.approx(0.5, abs=0.02)
    assert curves.deletion_auc.std() > 0.005  # each image its own order


def test_batches_do_not_change_the_result(scene):
    predict, images, _ = scene
    heatmaps = np.random.default_rng(1).random(images.shape)
    seen = []

    def counting(batch):
        seen.append(batch.shape)
        assert batch.dtype == np.float32
        return predict(batch)

    small = insertion_deletion(counting, images, heatmaps, CLASSES, steps=10, batch_size=7)
    large = insertion_deletion(predict, images, heatmaps, CLASSES, steps=10, batch_size=1000)
    assert (small.insertion == large.insertion).all() and (small.deletion == large.deletion).all()
    assert max(shape[0] for shape in seen) == 7 and sum(shape[0] for shape in seen) == 2 * 3 * 11
    one = information_curves(predict, images, heatmaps, CLASSES, batch_size=5)
    other = information_curves(predict, images, heatmaps, CLASSES, batch_size=1000)
    assert one.sic_auc == other.sic_auc and np.array_equal(one.sic_curves, other.sic_curves, equal_nan=True)


def test_float_grey_values_are_as_good_as_bytes(scene):
    predict, images, _ = scene
    heatmaps = np.random.default_rng(1).random(images.shape).astype(np.float16)
    for metric in (insertion_deletion, information_curves):
        one, other = (metric(predict, stack, heatmaps, CLASSES) for stack in (images, images.astype(np.float32)))
        assert all(np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in vars(one))


def test_sparse_blur_keeps_some_pixels_and_interpolates_the_rest(scene):
    ramp = np.broadcast_to(np.arange(40, dtype=np.uint8) * 6, (2, 40, 40)).copy()
    blurred = sparse_blur(ramp, seed=1)
    inside = blurred[:, 15:25, 15:25]  # inside the hull linear interpolation of a plane is exact
    assert inside == pytest.approx(ramp[:, 15:25, 15:25])
    _, images, _ = scene
    blurred = sparse_blur(images, seed=1)
    assert 8 <= (blurred[0] == images[0]).sum() < 40
    assert (sparse_blur(images[:1], seed=1)[0] == blurred[0]).all() and (blurred[0] != blurred[1]).any()
    kept = np.random.default_rng([1, 0]).choice(SIZE**2, 8, replace=False)
    places, values = np.argwhere(np.ones((SIZE, SIZE)))[kept], images[0].ravel()[kept].astype(float)
    linear = griddata(places, values, np.argwhere(np.ones((SIZE, SIZE))), "linear")
    nearest = griddata(places, values, np.argwhere(np.ones((SIZE, SIZE))), "nearest")
    assert blurred[0].ravel() == pytest.approx(np.rint(np.where(np.isnan(linear), nearest, linear)))


def one_curve(predict, image, heatmap, number, *, seed, fractions):
    """SIC and AIC of one image, written as the text describes them: Shannon entropy by scipy, no batches."""
    blurred = sparse_blur(np.stack([image] * (number + 1)), seed=seed)[number]
    order = np.argsort(-heatmap, axis=None)  # the test's heatmaps have no ties

    def shannon(picture):
        return entropy(np.bincount(picture.astype(int).ravel(), minlength=256), base=2)

    points = []
    for fraction in (0, *fractions, 1):
        picture = blurred.copy().ravel()
        chosen = order[: round(fraction * image.size)]
        picture[chosen] = image.ravel()[chosen]
        picture = picture.reshape(image.shape)
        probabilities = predict(picture[None].astype(np.float32))[0]
        points.append((shannon(picture), probabilities[0], float(probabilities.argmax() == 0)))
    return np.array(points).T


def test_information_curves_equal_the_slow_computation(scene):
    predict, images, _ = scene
    heatmaps = np.random.default_rng(4).random(images.shape)
    result = information_curves(predict, images, heatmaps, CLASSES, seed=2, information="entropy")
    slow = []
    for number in range(3):
        bits, softmax, right = one_curve(
            predict, images[number], heatmaps[number], number, seed=2, fractions=faithfulness.FRACTIONS
        )
        assert bits[0] < bits[-1] and softmax[0] < softmax[-1] and right[0] < right[-1]
        x, sic, aic = ((v - v[0]) / (v[-1] - v[0]) for v in (bits, softmax, right))
        x, sic, aic = (np.maximum.accumulate(v.clip(0, 1)) for v in (x, sic, aic))
        slow.append((np.interp(result.x, x, sic), np.interp(result.x, x, aic)))
    sic, aic = np.median([pair[0] for pair in slow], axis=0), np.median([pair[1] for pair in slow], axis=0)
    assert result.sic == pytest.approx(sic) and result.aic == pytest.approx(aic)
    assert result.sic_auc == pytest.approx(np.trapezoid(sic, result.x))
    assert (result.sic_images, result.aic_images) == (3, 3)


def test_information_curves_of_perfect_and_worst_explainers(scene):
    """The perfect explainer has the score 1 from a quarter of the pixels on, the worst none before three quarters."""
    predict, images, target = scene
    maps = explainers(target, images)
    for information in ("compressed", "entropy"):
        kwargs = dict(fractions=(0.25, 0.75), information=information)
        perfect = information_curves(predict, images, maps["perfect"], CLASSES, **kwargs)
        worst = information_curves(predict, images, maps["worst"], CLASSES, **kwargs)
        first = np.argmax(perfect.sic_curves >= 1 - 1e-9, axis=1)
        assert 0 < perfect.x[first].max() < 0.9
        assert perfect.sic_auc > 0.5 > worst.sic_auc
        assert (worst.sic_curves[:, : len(worst.x) // 2] < 1e-9).all()
        random = information_curves(predict, images, np.random.default_rng(0).random(images.shape), CLASSES, **kwargs)
        assert perfect.sic_auc > random.sic_auc > worst.sic_auc
        assert perfect.aic_auc > random.aic_auc > worst.aic_auc


def test_area_of_a_known_information_curve():
    """Information 0, 1/2, 1 and scores 0, 1, 1 on their scale: a ramp to 1/2, then 1, area 3/4."""
    x = np.linspace(0, 1, 201)
    curves = faithfulness._normalised_curves(x, np.array([[10.0, 20, 30]]), np.array([[0.2, 0.9, 0.8]]))
    assert curves[0] == pytest.approx(np.minimum(1, 2 * x))
    assert np.trapezoid(curves[0], x) == pytest.approx(0.75)


def test_images_whose_blurred_version_is_as_good_are_dropped(scene):
    predict, images, target = scene
    maps = explainers(target, images)["perfect"]
    blind = lambda batch: np.tile([0.5, 0.3, 0.2], (len(batch), 1))
    result = information_curves(blind, images, maps, CLASSES)
    assert result.sic_images == result.aic_images == 0
    assert np.isnan([result.sic_auc, result.aic_auc]).all() and np.isnan(result.sic).all()
    # class 1 loses probability as the target appears, class 0 gains: only image 0 is kept
    mixed = information_curves(predict, images, maps, np.array([0, 1, 1]))
    assert mixed.sic_images == 1 and np.isnan(mixed.sic_curves[1:]).all()
    assert mixed.sic == pytest.approx(mixed.sic_curves[0])


def test_shannon_entropy_of_known_images():
    flat, coin = np.zeros((4, 4), np.uint8), np.array([[0, 255] * 2] * 4, np.uint8)
    assert faithfulness._entropy_bits(flat) == 0 and faithfulness._entropy_bits(coin) == 1
    assert faithfulness._entropy_bits(np.arange(256, dtype=np.uint8).reshape(16, 16)) == pytest.approx(8)


def test_rank_similarity_is_spearman_with_ties():
    generator = np.random.default_rng(0)
    one, other = generator.integers(0, 5, (2, 4, 10, 10)).astype(np.float16)
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, other)]
    assert rank_similarity(one, other) == pytest.approx(expected)
    assert rank_similarity(one, one) == pytest.approx(1) and rank_similarity(one, -one) == pytest.approx(-1)
    assert rank_similarity(one, one.astype(float) ** 3 + 2) == pytest.approx(1)  # any growing function keeps ranks
    assert np.isnan(rank_similarity(one, np.ones_like(one))).all()


def test_ssim_of_equal_and_constant_heatmaps():
    one = np.random.default_rng(0).random((2, 16, 16)).astype(np.float16)
    assert ssim(one, one) == pytest.approx(1)
    # two constants a, b: only the luminance term is left, (2ab + c) / (a^2 + b^2 + c), c = 0.01^2
    flat = np.full((1, 16, 16), 0.25), np.full((1, 16, 16), 0.75)
    assert ssim(*flat) == pytest.approx((2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4))


@pytest.mark.parametrize(
    ("images", "heatmaps", "message"),
    [
        (np.ones((3, 8, 8), np.float32), np.zeros((3, 8, 8)), "scale 0-255.*values up to 1"),
        (np.full((8, 8), 9), np.zeros((3, 8, 8)), r"\(N, S, S\)"),
        (np.full((3, 8, 8), 9, np.uint8), np.zeros((2, 8, 8)), "must match"),
        (np.full((3, 8, 8), 9, np.uint8), np.full((3, 8, 8), np.nan), "not finite"),
    ],
)
def test_bad_input_is_named(images, heatmaps, message):
    with pytest.raises(ValueError, match=message):
        insertion_deletion(lambda batch: batch, images, heatmaps, CLASSES)


def test_unknown_information_measure_is_named(scene):
    predict, images, target = scene
    with pytest.raises(ValueError, match="Unknown information measure 'jpeg'; expected one of compressed, entropy"):
        information_curves(predict, images, explainers(target, images)["worst"], CLASSES, information="jpeg")
