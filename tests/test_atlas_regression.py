"""A pose fitted to coordinates read cell by cell, and the random slices from which reading is learned."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from xai import atlas_training
from xai.atlas_heads import Registration, acquired_slices, aligned, as_head
from xai.atlas_network import build_network, cells_loss, targets, unfold
from xai.atlas_poses import PRIOR_MEAN, matrices
from xai.atlas_reading import CELLS, PIXELS, SCALE_MM, Reading, as_input, as_reading, forward, read
from xai.atlas_regression import fit
from xai.atlas_synthesis import SELLA_MM, SELLA_RADIUS_MM, Head, draw_slices, known_slices
from xai.data.phantom_canvas import LOWER_MM
from xai.data.phantom_head import load_head
from xai.paths import PLANES

POSES = {
    "axial": np.array([-22.0, np.log(262), 0.1, 0.2, -0.05, 0.46, 0.53, 0.03]),
    "coronal": np.array([12.0, np.log(240), -0.08, 0.1, 0.04, 0.4, 0.5, -0.02]),
    "sagittal": np.array([7.0, np.log(275), 0.05, 0.05, 0.05, 0.42, 0.47, 0.0]),
}  # fmt: skip


def reading_of(plane: str, *, noise_mm: float = 0.0, expected_mm: float = 2.0, seed: int = 0) -> tuple[Reading, np.ndarray]:
    """A reading of a known pose, brain in a disc around the middle; and the true mm of the cells."""
    centre = (np.arange(CELLS) + 0.5) / CELLS
    rows, columns = np.meshgrid(centre, centre, indexing="ij")
    mni = np.stack([rows, columns, np.ones_like(rows)], axis=-1) @ matrices(POSES[plane][None], plane)[0].T
    brain = (np.hypot(rows - 0.45, columns - 0.5) < 0.27).astype(float)
    noisy = mni + np.random.default_rng(seed).normal(0, noise_mm, mni.shape) if noise_mm else mni
    planes = np.full(4, 0.01)
    planes[PLANES.index(plane)] = 0.97
    return Reading(noisy, np.full((CELLS, CELLS), expected_mm), brain, planes), mni


@pytest.mark.parametrize("plane", PLANES)
def test_fit_finds_the_pose_of_an_exact_reading(plane):
    reading, mni = reading_of(plane, expected_mm=0.5)
    found = fit(reading, plane)
    centre = (np.arange(CELLS) + 0.5) / CELLS
    rows, columns = np.meshgrid(centre, centre, indexing="ij")
    points = np.stack([rows, columns, np.ones_like(rows)], axis=-1) @ matrices(found.pose[None], plane)[0].T
    assert np.linalg.norm(points - mni, axis=-1)[reading.brain > 0.5].max() < 1.5  # the prior pulls a little
    assert found.residual_mm < 1 and found.cells == (reading.brain > 0.5).sum()


def test_fit_is_robust_to_a_part_that_is_read_wrong():
    reading, mni = reading_of("axial", noise_mm=1.0)
    reading.mni[4:12, 6:11] += (0, 45, 20)  # a tumour takes the network in
    found = fit(reading, "axial")
    assert abs(found.pose[0] - POSES["axial"][0]) < 2.5
    hidden = np.ones((CELLS, CELLS))
    hidden[4:12, 6:11] = 0
    better = fit(reading, "axial", known=hidden)
    assert better.cells < found.cells and abs(better.pose[0] - POSES["axial"][0]) < 1.5


def test_the_less_sure_the_reading_the_wider_the_posterior():
    sure, unsure = (fit(reading_of("coronal", expected_mm=mm)[0], "coronal") for mm in (1.0, 6.0))
    assert unsure.covariance[0, 0] > 8 * sure.covariance[0, 0]
    draws = unsure.draws(400, seed=1)
    assert np.array_equal(draws[0], unsure.pose) and draws[1:, 0].std() == pytest.approx(unsure.covariance[0, 0] ** 0.5, rel=0.15)
    assert (fit(reading_of("sagittal", expected_mm=8.0)[0], "sagittal").draws(200)[:, 0] >= 0).all()


def test_priors_hold_what_a_reading_does_not_say():
    """A reading that has collapsed to one point says nothing of the field of view."""
    reading, _ = reading_of("coronal", expected_mm=40.0)
    collapsed = Reading(np.broadcast_to(np.array([0.0, -15.0, 0.0]), reading.mni.shape), reading.expected_mm, reading.brain, reading.planes)
    found = fit(collapsed, "coronal")
    assert np.exp(found.pose[1]) > 0.6 * np.exp(PRIOR_MEAN[1])


def test_too_little_brain_gives_no_fit():
    reading, _ = reading_of("axial")
    reading.brain[:] = 0.1
    reading.brain[10, 8:18] = 0.9
    assert fit(reading, "axial") is None


@pytest.fixture(scope="module")
def ramp() -> Head:
    """A head whose signal is its own y coordinate, so that a slice shows what its coordinates should say."""
    shape, lower = (60, 60, 60), np.array([-118.0, -138.0, -118.0])
    grid = np.stack(np.meshgrid(*(lower[axis] + 4.0 * np.arange(shape[axis]) for axis in range(3)), indexing="ij"), axis=-1)
    ball = (np.linalg.norm(grid - (0, -18, 5), axis=-1) < 70).astype(np.float32)
    return Head("ramp", (grid[..., 1] + 200).astype(np.float32), ball, lower, 4.0)


@pytest.fixture(scope="module")
def bent(ramp) -> Head:
    """The same head in a shape of its own: its signal still says y of MNI152, which is up to 6 mm from its own."""
    grid = np.stack(np.meshgrid(*(ramp.lower_mm[axis] + ramp.voxel_mm * np.arange(60) for axis in range(3)), indexing="ij"), axis=-1)
    shift = np.zeros_like(grid)
    shift[..., 1] = 6 * np.sin(grid[..., 0] / 25) * np.cos(grid[..., 2] / 30)
    ball = (np.linalg.norm(grid + shift - (0, -18, 5), axis=-1) < 70).astype(np.float32)
    return Head("bent", (grid + shift)[..., 1].astype(np.float32) + 200, ball, ramp.lower_mm, ramp.voxel_mm, shift)


def test_slices_show_what_their_coordinates_say(ramp, monkeypatch):
    from xai import atlas_synthesis

    monkeypatch.setattr(atlas_synthesis, "_contrast", lambda signal, brain, generator, stripped, mass: signal)
    monkeypatch.setattr(atlas_synthesis, "NO_HEAD_SHARE", 0.0)
    slices = draw_slices([ramp], 24, seed=3)
    assert set(slices.plane) == {0, 1, 2}
    step = PIXELS // CELLS
    shown = slices.pictures.reshape(24, CELLS, step, CELLS, step).mean(axis=(2, 4)) - 200
    inside = slices.brain > 0.9
    assert inside.sum() > 1000 and np.abs(shown - slices.mni[..., 1])[inside].max() < 1.0
    distance = np.linalg.norm(slices.mni - (0, -18, 5), axis=-1)
    assert distance[slices.brain > 0.99].max() < 74 and distance[slices.brain < 0.01].min() > 66
    sagittal = slices.plane == PLANES.index("sagittal")
    assert all(part[brain > 0.5].mean() >= 0 for part, brain in zip(slices.mni[sagittal][..., 0], slices.brain[sagittal]))


def test_a_mass_pushes_what_surrounds_it_and_may_be_hidden(ramp, monkeypatch):
    """Tissue at the edge of a mass stood nearer to its centre, tissue far away where it stands; nothing is folded."""
    from xai import atlas_synthesis

    mass = atlas_synthesis._Ellipse(np.array([0.5, 0.5]), np.array([0.1, 0.1]), 0.0)
    line = np.column_stack([np.linspace(0.5, 1, 201), np.full(201, 0.5), np.ones(201)])
    for push in atlas_synthesis.PUSH:
        moved = atlas_synthesis._pushed(line, mass, push)
        assert (np.diff(moved[:, 0]) > 0).all() and np.array_equal(moved[:, 1:], line[:, 1:])
        edge = np.argmin(np.abs(line[:, 0] - 0.6))
        assert moved[edge, 0] - 0.5 == pytest.approx((1 - push) * 0.1)
        assert moved[-1, 0] == pytest.approx(1, abs=1e-3)
    slices = draw_slices([ramp], 60, seed=3)
    hidden = (slices.known == 0).any(axis=(1, 2))
    assert 0.3 < hidden.mean() < 0.7 and slices.known[hidden].mean() > 0.8 and (slices.known[slices.plane < 0] == 1).all()
    inputs = as_input(slices.pictures, slices.known)
    assert (inputs[slices.known == 0] == 0).all() and (inputs[..., 2] == slices.known).all()
    jittered = atlas_training._jittered(inputs.copy(), np.random.default_rng(0))
    assert (jittered[slices.known == 0] == 0).all() and (jittered[..., 2] == slices.known).all()
    assert np.ptp(jittered[slices.known == 1][:, 1] - inputs[slices.known == 1][:, 1]) > 0.1


def test_what_is_hidden_is_not_seen(drawn):
    """Whatever a hidden part holds, the reading is the same; shown, it is another one."""
    picture, known = drawn.pictures[np.argmax(drawn.plane >= 0)], np.ones((PIXELS, PIXELS))
    known[30:50, 40:60] = 0
    other = np.where(known > 0, picture, 5 * picture.max())
    one, same, seen = read(picture, known), read(other, known), read(other)
    np.testing.assert_array_equal(one.mni, same.mni)
    assert np.abs(one.mni - seen.mni).max() > 1


def test_slices_depend_on_the_seed_alone(ramp):
    first, again, other = (draw_slices([ramp], 12, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.pictures, again.pictures)
    assert np.isfinite(first.pictures).all() and first.pictures.min() >= 0
    assert not np.array_equal(first.pictures, other.pictures)


@pytest.mark.parametrize("shape", ["ramp", "bent"])
def test_known_slices_show_what_their_coordinates_say(shape, request):
    """The signal is the true y, where no tumour has reached."""
    head = request.getfixturevalue(shape)
    made = list(known_slices(head, 6, seed=2, side=96))
    assert [item.plane for item in made] == [*PLANES, *PLANES]
    far = []
    for item in made:
        away = ndimage.distance_transform_edt(item.mask == 0)[tuple(item.pixels.T)] > 16  # beyond the soft edge of the widest tumour
        far.append(np.abs(item.picture[tuple(item.pixels.T)] - 200 - item.mni[:, 1])[away])
        assert item.mask.any() and (np.linalg.norm(item.mni - (0, -18, 5), axis=1) < 74).all()
        clear = item.sella[ndimage.distance_transform_edt(item.mask == 0)[tuple(item.sella.T)] > 16]
        assert (np.abs(item.picture[tuple(clear.T)] - 200 - SELLA_MM[1]) < SELLA_RADIUS_MM + 1).all()
    assert any(len(item.sella) for item in made)
    assert len(np.concatenate(far)) > 200 and np.concatenate(far).max() < 1.0
    again = next(iter(known_slices(head, 1, seed=2, side=96)))
    np.testing.assert_array_equal(again.picture, made[0].picture)


def test_a_registered_head_is_shown_in_its_own_shape_or_in_that_of_the_template():
    """A volume whose signal is its own y, 10 mm off and bent: its y is where the shift from its own shape, or the straightened head, says."""
    axis = np.arange(-120.0, 121.0, 4.0)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    onto = np.diag([4.0, 4.0, 4.0, 1.0])
    onto[:3, 3] = -120.0
    bending = np.zeros(grid.shape, np.float32)
    bending[..., 1] = 5 * np.sin(grid[..., 0] / 30)  # q of MNI152 -> q + bending -> 10 mm on, the volume's y
    affine = np.eye(4)
    affine[1, 3] = 10.0
    volume = nibabel.Nifti1Image((grid[..., 1] + 200).astype(np.float32), onto)
    registration = Registration(affine, nibabel.Nifti1Image(bending, onto))
    own, straight = (as_head(volume, registration=registration, straight=how) for how in (False, True))
    points = np.random.default_rng(0).uniform(-60, 60, (500, 3))
    index = ((points - own.lower_mm) / own.voxel_mm).T
    shown, unbent = (ndimage.map_coordinates(head.signal, index, order=1) for head in (own, straight))
    assert straight.shift is None and np.ptp(shown / (points[:, 1] + 210)) < 1e-4  # a constant times the volume's y
    np.testing.assert_allclose(unbent / (points[:, 1] + 5 * np.sin(points[:, 0] / 30) + 210) * (points[0, 1] + 210) / shown[0], 1, atol=0.02)
    mni = points + own.shift_at(points)
    np.testing.assert_allclose(mni[:, 1] + 5 * np.sin(mni[:, 0] / 30), points[:, 1], atol=0.1)


def test_acquired_slices_are_shown_radiologically_with_their_coordinates():
    """A volume stored left to right and back to front, thick slices; its values are its own x, then y."""
    affine = np.array([[-2.0, 0, 0, 96], [0, 2.0, 0, -126], [0, 0, 8.0, -40], [0, 0, 0, 1]])
    index = np.indices((96, 110, 12)).reshape(3, -1).T
    points = (index @ affine[:3, :3].T + affine[:3, 3]).reshape(96, 110, 12, 3)
    tumour = nibabel.Nifti1Image((np.linalg.norm(points - (30, -20, 24), axis=-1) < 12).astype(np.uint8), affine)
    for axis in (0, 1, 2):
        made = list(acquired_slices(nibabel.Nifti1Image(points[..., axis].astype(np.float32), affine), tumour))
        assert len(made) > 8
        for item in made:
            np.testing.assert_allclose(item.picture[tuple(item.pixels.T)], item.mni[:, axis], atol=1e-3)
    rows, columns = item.picture.shape
    assert (rows, columns) == (110, 96)
    marked = next(item for item in made if item.mask.sum() > 50)
    row, column = np.argwhere(marked.mask).mean(axis=0)
    assert column < columns / 2  # the patient's right is on the left of the picture
    assert all(item.plane == "axial" for item in made)


def test_a_registration_that_was_kept_moves_the_affine(tmp_path):
    volume = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.diag([2.0, 2, 2, 1]))
    nibabel.save(volume, tmp_path / "a.nii.gz")
    moved = np.eye(4)
    moved[:3, 3] = 5, 6, 7
    (tmp_path / "a.mni.json").write_text(json.dumps(moved.tolist()))
    np.testing.assert_allclose(aligned(tmp_path / "a.nii.gz", tmp_path / "none").affine, [[2, 0, 0, 5], [0, 2, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]])


def test_numpy_reads_what_keras_would_from_the_saved_weights(ramp, tmp_path):
    """An untrained network, its normalisation and all its weights random, so that nothing cancels."""
    network, generator = build_network(), np.random.default_rng(8)
    network.set_weights([np.abs(values) + 0.5 if values.ndim == 1 else values for values in (
        generator.normal(0, 0.1, value.shape).astype(np.float32) for value in network.get_weights())])  # fmt: skip
    drawn = draw_slices([ramp], 2, seed=7)
    inputs = as_input(drawn.pictures, drawn.known)
    wanted = network(inputs, training=False)
    atlas_training.save(network, tmp_path / "network.npz", heads=["ramp"], seed=8)
    assert json.loads((tmp_path / "network.json").read_text())["heads"] == ["ramp"]
    with np.load(tmp_path / "network.npz") as stored:
        weights = {name: stored[name].astype(np.float32) for name in stored.files}
    for number, picture in enumerate(inputs):
        cells, plane, _ = forward(weights, picture)
        assert cells.shape == (CELLS, CELLS, 5) and plane.shape == (4,)
        for found, expected in ((cells, wanted["cells"][number]), (plane, wanted["plane"][number])):
            expected = np.asarray(expected)
            assert np.abs(found - expected).max() < 0.01 * np.abs(expected).max()  # stored as float16
            assert np.ptp(expected) > 0.1 * np.abs(expected).max()
    reading = as_reading(cells, plane)
    np.testing.assert_allclose(reading.mni, SCALE_MM * cells[..., :3], rtol=1e-6)
    assert reading.planes.sum() == pytest.approx(1) and reading.planes.argmax() == plane.argmax()


def test_the_loss_of_the_truth_is_the_least(ramp):
    slices = draw_slices([ramp], 4, seed=7)
    wanted = targets(slices)["cells"]
    answer = np.concatenate([wanted[..., :3], np.full((*wanted.shape[:3], 1), -3.0), np.where(wanted[..., 3:4] > 0.5, 6.0, -6.0)], axis=-1).astype(np.float32)
    worse = answer + np.array([10 / SCALE_MM, 0, 0, 0, 0], np.float32)
    head = slices.plane >= 0
    assert (np.asarray(cells_loss(wanted, answer)) < np.asarray(cells_loss(wanted, worse)))[head].all()


def test_training_makes_the_readings_better(ramp, monkeypatch):
    monkeypatch.setattr(atlas_training, "VALIDATION_SLICES", 24)
    monkeypatch.setattr(atlas_training, "WARMUP", 2)
    said = []
    atlas_training.train([ramp], slices=96, passes=5, log=said.append)
    first, last = (sum(map(float, re.findall(r"([\d.]+) mm", line))) for line in (said[0], said[-1]))  # of the three planes
    assert len(said) == 5 and last < first - 3


def test_a_training_starts_from_saved_weights(ramp, monkeypatch, tmp_path):
    """Unfolded, a network answers as the one whose weights were folded; and goes on from there."""
    monkeypatch.setattr(atlas_training, "VALIDATION_SLICES", 24)
    monkeypatch.setattr(atlas_training, "WARMUP", 2)
    first = atlas_training.train([ramp], slices=96, passes=2, log=lambda line: None)
    atlas_training.save(first, tmp_path / "first.npz")
    slices = draw_slices([ramp], 64, seed=7)
    inputs, second = as_input(slices.pictures, slices.known), build_network()
    with np.load(tmp_path / "first.npz") as stored:
        unfold(second, dict(stored), inputs)
    for name, wanted in first.predict(inputs, verbose=0).items():
        found = second.predict(inputs, verbose=0)[name]
        assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()  # stored as float16
        learning = np.asarray(second(inputs, training=True)[name])
        assert name == "plane" or np.abs(learning - wanted).max() < 0.05 * np.abs(wanted).max(), "its normalisations fit what it sees"
    said = []
    atlas_training.train([ramp], slices=96, passes=1, log=said.append, start_from=tmp_path / "first.npz")
    assert said[0].startswith("as it starts") and len(said) == 2


def test_a_killed_training_goes_on_after_its_last_pass(ramp, monkeypatch, tmp_path):
    monkeypatch.setattr(atlas_training, "VALIDATION_SLICES", 8)
    monkeypatch.setattr(atlas_training, "WARMUP", 2)
    options = {"slices": 64, "passes": 3, "seed": 4}
    whole = atlas_training.train([ramp], log=lambda line: None, **options)

    class Killed(Exception):
        pass

    def killed(line: str) -> None:
        if line.startswith("pass 3"):
            raise Killed

    with pytest.raises(Killed):
        atlas_training.train([ramp], log=killed, kept=tmp_path, **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2.weights.h5", "state.json"]
    said = []
    resumed = atlas_training.train([ramp], log=said.append, kept=tmp_path, **options)
    assert [line[:8] for line in said] == ["pass 3/3"]
    for one, other in zip(whole.get_weights(), resumed.get_weights()):
        np.testing.assert_allclose(one, other, atol=2e-3)
    fresh = []
    atlas_training.train([ramp], log=fresh.append, kept=tmp_path, **options | {"seed": 5})
    assert len(fresh) == 3, "another training does not go on from this one"


def test_missing_heads_are_one_clear_sentence(tmp_path, capsys):
    assert atlas_training.main(["--heads", str(tmp_path), "--to", str(tmp_path / "network.npz")]) == 2
    assert "holds no tpl-MNI152" in capsys.readouterr().err and not list(tmp_path.iterdir())


# The shipped weights


@pytest.fixture(scope="module")
def drawn():
    """Slices of the phantom's head, which the network never saw: warped, tilted, with lesions, many with face and neck."""
    head = load_head()
    signal = ndimage.gaussian_filter(head.signal, 1.0)[::2, ::2, ::2]
    brain = (head.brain > 0).astype(np.float32)
    return draw_slices([Head("phantom", signal / np.median(signal[brain > 0]), brain, LOWER_MM, 2.0)], 40, seed=12)


def test_the_network_tells_the_plane_and_what_is_no_head(drawn):
    found = np.array([read(picture).planes.argmax() for picture in drawn.pictures])
    assert np.mean(found == np.where(drawn.plane < 0, len(PLANES), drawn.plane)) >= 0.9


def test_placing_needs_no_tensorflow():
    code = "import sys, numpy, xai.atlas_reading as r; r.read(numpy.eye(96)); sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
