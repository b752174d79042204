"""Masks that follow the image: from a rough mask to the drawn shape, and never worse than a sentence on bad input."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from xai.metrics.overlap import dice
from xai.outlines import STEPS, follow_image

SIDE = 64


@pytest.fixture
def scene():
    """A bright, slightly noisy ellipse on darker tissue; its heat is a round blob beside its middle, its rough mask the hottest 6.5 %."""
    rows, columns = np.indices((SIDE, SIDE))
    truth = ((rows - 34) / 9) ** 2 + ((columns - 28) / 6) ** 2 <= 1
    image = np.random.default_rng(0).normal(np.where(truth, 190, 90), 8).clip(0, 255).astype(np.uint8)
    image[:4] = 0
    heat = np.zeros((SIDE, SIDE), np.float32)
    heat[35, 27] = 1
    heat = gaussian_filter(heat, 6)
    return image, heat, heat >= np.quantile(heat, 0.935), truth


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_rough_mask_comes_closer_to_the_shape(scene, step):
    image, heat, mask, truth = scene
    found = follow_image(step, mask[None], heat[None], image[None])
    assert found.dtype == bool and found.shape == (1, SIDE, SIDE)
    before, after = dice(mask[None], truth[None])[0], dice(found, truth[None])[0]
    # Patches of even brightness smooth an outline and seldom move it.
    assert before < 0.75 and after > before + (-0.05 if step == "superpixels" else 0.1)


@pytest.mark.parametrize("step", STEPS)
def test_each_slice_is_redrawn_by_itself_and_the_same_every_time(scene, step):
    image, heat, mask, _ = scene
    images, heats, masks = np.stack([image, image[:, ::-1]]), np.stack([heat, heat[:, ::-1]]), np.stack([mask, mask[:, ::-1]])
    together = follow_image(step, masks, heats, images)
    alone = [follow_image(step, m[None], h[None], i[None])[0] for m, h, i in zip(masks, heats, images)]
    assert np.array_equal(together, alone) and np.array_equal(together, follow_image(step, masks, heats, images))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("mask", [np.zeros((SIDE, SIDE), bool), np.ones((SIDE, SIDE), bool)], ids=["empty", "full"])
def test_nothing_to_go_by_leaves_the_mask(scene, step, mask):
    image, heat, _, _ = scene
    assert np.array_equal(follow_image(step, mask[None], heat[None], image[None])[0], mask)


@pytest.mark.parametrize("step", STEPS)
def test_a_flat_image_and_a_flat_heatmap_give_a_mask(scene, step):
    _, _, mask, _ = scene
    flat = np.full((1, SIDE, SIDE), 100, np.uint8)
    assert follow_image(step, mask[None], np.ones((1, SIDE, SIDE)), flat).any()


def test_unknown_step_is_named(scene):
    image, heat, mask, _ = scene
    with pytest.raises(ValueError, match="Unknown step 'snake'; expected one of none, superpixels"):
        follow_image("snake", mask[None], heat[None], image[None])
