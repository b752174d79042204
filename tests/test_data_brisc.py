"""BRISC 2025 as it is unpacked: JPEG and PNG files of its names in its folders; what is wrong is one sentence naming the file."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import one_sentence
from PIL import Image
from test_data_similar import head

from xai.data.brisc import check_brisc, read_brisc
from xai.data.dataset import Dataset, prepare
from xai.data.split import split_by_patient
from xai.paths import LABELS, Study, StudyError

CODES = {"gl": "glioma", "me": "meningioma", "pi": "pituitary"}
PLANES = {"ax": "axial", "co": "coronal", "sa": "sagittal"}
SIZES = [(96, 96), (128, 96), (90, 120), (144, 144)]  # height, width


def write_brisc(root: Path, train: int = 5, test: int = 2) -> Path:
    """The published layout below `root`, so many slices of each class in each split, and one of no tumour; half of the images are colour."""
    for part, count in (("train", train), ("test", test)):
        number = 0
        for code, label in CODES.items():
            for _ in range(count):
                number += 1
                name = f"brisc2025_{part}_{number:05d}_{code}_{list(PLANES)[number % 3]}_t1"
                seed = number + 1000 * (part == "test")
                write_slice(root, name, label, *_draw(seed))
        folder = root / "classification_task" / part / "no_tumor"
        folder.mkdir(parents=True)
        Image.fromarray(head(5000 + count)).save(folder / f"brisc2025_{part}_{number + 1:05d}_no_ax_t1.jpg")
    return root


def write_slice(root: Path, name: str, label: str, image: np.ndarray, mask: np.ndarray) -> None:
    """One slice in both tasks."""
    part = name.split("_")[1]
    for folder in (root / "segmentation_task" / part / "images", root / "classification_task" / part / label):
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{name}.jpg", quality=95)
    folder = root / "segmentation_task" / part / "masks"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask * np.uint8(255)).save(folder / f"{name}.png")


def _draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    height, width = SIZES[seed % len(SIZES)]
    image, mask = head(seed, height, width), np.zeros((height, width), np.uint8)
    mask[30 + seed % 10 : 45, 40:52] = 1
    return (np.dstack([image] * 3) if seed % 2 else image), mask


@pytest.fixture
def brisc(tmp_path: Path) -> Path:
    return write_brisc(tmp_path / "brisc2025")


def _image(root: Path, part: str, number: int) -> Path:
    return next((root / "segmentation_task" / part / "images").glob(f"*_{number:05d}_*"))


def _mask(root: Path, part: str, number: int) -> Path:
    return next((root / "segmentation_task" / part / "masks").glob(f"*_{number:05d}_*"))


def _classified(root: Path, part: str, number: int) -> Path:
    return next((root / "classification_task" / part).glob(f"*/*_{number:05d}_*"))


def test_the_index_says_what_names_and_folders_say(brisc):
    index = check_brisc(brisc)
    assert list(index.columns) == ["id", "image", "mask", "label", "patient", "plane", "published_split"]
    assert len(index) == 21 and index["id"].is_monotonic_increasing and index["id"].is_unique
    assert Counter(index["label"]) == dict.fromkeys(LABELS, 7)
    assert Counter(index["published_split"]) == {"train": 15, "test": 6}
    row = index[index["id"] == "brisc2025_train_00008_me_sa_t1"].iloc[0].to_dict()
    assert row.pop("patient") == "like_brisc2025_train_00008_me_sa_t1", "no other slice is like this one"
    assert row == {
        "id": "brisc2025_train_00008_me_sa_t1", "label": "meningioma", "plane": "sagittal", "published_split": "train",
        "image": "segmentation_task/train/images/brisc2025_train_00008_me_sa_t1.jpg",
        "mask": "segmentation_task/train/masks/brisc2025_train_00008_me_sa_t1.png",
    }  # fmt: skip
    assert index.attrs == {"skipped": [], "left_aside": 2}


def test_the_folder_around_it_will_do(brisc):
    inside, around = check_brisc(brisc), check_brisc(brisc.parent)
    assert around["image"].equals("brisc2025/" + inside["image"]) and around["mask"].equals("brisc2025/" + inside["mask"])
    same = ["id", "label", "patient", "plane", "published_split"]
    assert around[same].equals(inside[same]) and around.attrs == inside.attrs
    assert [item.id for item in read_brisc(brisc.parent, around)] == list(inside["id"])


def test_slices_are_read_exactly(brisc):
    """Against OpenCV's decoder, and against the numbers that were written."""
    index = check_brisc(brisc)
    slices = list(read_brisc(brisc, index))
    assert [item.id for item in slices] == list(index["id"])
    shapes = set()
    for item, row in zip(slices, index.itertuples()):
        decoded = cv2.imread(str(brisc / row.image), cv2.IMREAD_GRAYSCALE)
        assert item.image.dtype == np.uint8 and np.abs(item.image.astype(int) - decoded).max() <= 1
        _, part, number, code, plane, _ = item.id.split("_")
        image, mask = _draw(int(number) + 1000 * (part == "test"))
        grey = image[..., 0] if image.ndim == 3 else image
        assert item.image.shape == grey.shape and np.abs(item.image.astype(int) - grey).mean() < 4, "what JPEG changes"
        assert item.mask.dtype == np.uint8 and np.array_equal(item.mask, mask)
        assert (item.label, item.plane, item.patient, item.fold) == (CODES[code], PLANES[plane], row.patient, None)
        shapes.add(item.image.shape)
    assert shapes == set(SIZES)


def test_masks_are_cut_between_127_and_128(brisc):
    path = _mask(brisc, "train", 4)
    grey = np.zeros(_draw(4)[1].shape, np.uint8)
    grey[0, :4] = [126, 127, 128, 255]
    Image.fromarray(grey).save(path)
    index = check_brisc(brisc)
    mask = next(read_brisc(brisc, index[index["id"] == path.stem])).mask
    assert mask.sum() == 2 and mask[0, 2:4].tolist() == [1, 1]


def test_it_becomes_a_dataset(brisc, tmp_path):
    """Padded to squares and split by groups; the published split is not ours."""
    index = check_brisc(brisc)
    study = Study(tmp_path / "study")
    prepare(
        study, read_brisc(brisc, index), count=len(index), image_size=64, source="brisc",
        assign_splits=lambda records: split_by_patient(records, seed=1),
    )  # fmt: skip
    dataset = Dataset(study)
    assert dataset.images.shape == (21, 64, 64) and list(dataset.index["id"]) == list(index["id"])
    assert set(dataset.index["split"]) == {"train", "validation", "test"}
    assert (dataset.index["split"] == "test").to_numpy().tolist() != (index["published_split"] == "test").to_numpy().tolist()
    wide = index["id"].tolist().index("brisc2025_train_00002_gl_sa_t1")  # 90 x 120: bands of 8 empty rows above and below
    assert dataset.images[wide][:7].max() == 0 and dataset.images[wide][-7:].max() == 0


def test_copies_across_the_published_split_are_one_group(brisc):
    """The same slice saved again under another name, at another size and quality, and a neighbour of it."""
    image, mask = (np.asarray(Image.fromarray(array).resize((256, 256))) for array in (head(3, 144, 144), _draw(3)[1]))
    name = "brisc2025_test_00050_gl_ax_t1"
    write_slice(brisc, name, "glioma", image, mask)
    neighbour = np.roll(image, 3, axis=1)
    write_slice(brisc, "brisc2025_train_00060_gl_ax_t1", "glioma", neighbour, mask)
    original = "brisc2025_train_00061_gl_ax_t1"
    write_slice(brisc, original, "glioma", head(3, 144, 144), _draw(3)[1])
    index = check_brisc(brisc).set_index("id")
    group = index["patient"][name]
    members = sorted(index.index[index["patient"] == group])
    assert {name, original, "brisc2025_train_00060_gl_ax_t1"} <= set(members) and group == f"like_{members[0]}"
    assert index["patient"].nunique() == len(index) - len(members) + 1, "all others stay alone"
    split = split_by_patient(index, seed=0)
    assert split[members].nunique() == 1 and index["published_split"][members].nunique() == 2


def test_the_order_of_a_listing_does_not_matter(brisc, tmp_path):
    """The same files, written in another order, give the same index."""
    again = tmp_path / "again"
    for path in sorted(brisc.rglob("*.*"), reverse=True):
        target = again / path.relative_to(brisc)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert check_brisc(again).equals(check_brisc(brisc))


def test_what_an_operating_system_leaves_behind_is_no_slice(brisc):
    for name in (".DS_Store", "Thumbs.db", "._brisc2025_train_00001_gl_co_t1.jpg"):
        (brisc / "segmentation_task" / "train" / "images" / name).write_bytes(b"\0")
    assert len(check_brisc(brisc)) == 21


def test_without_the_classification_task_names_alone_decide(brisc):
    for path in sorted((brisc / "classification_task").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    index = check_brisc(brisc)
    assert len(index) == 21 and index.attrs["left_aside"] == 0


def test_slices_without_a_tumour_are_left_aside_and_counted_once(brisc):
    """Even where someone put one into the segmentation task, with an empty mask."""
    source = next((brisc / "classification_task" / "train" / "no_tumor").iterdir())
    (brisc / "segmentation_task" / "train" / "images" / source.name).write_bytes(source.read_bytes())
    Image.fromarray(np.zeros((192, 192), np.uint8)).save(brisc / "segmentation_task" / "train" / "masks" / f"{source.stem}.png")
    index = check_brisc(brisc)
    assert len(index) == 21 and index.attrs["left_aside"] == 2 and source.stem not in set(index["id"])


def _cut(path: Path) -> None:
    """Truncate in the pixel data: the header stays readable."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with Image.open(path) as picture:
        assert min(picture.size) >= 90


def _flip_bits(path: Path) -> None:
    """Damage the compressed pixels of a PNG: its checksum no longer fits."""
    content = bytearray(path.read_bytes())
    start = content.index(b"IDAT") + 8
    content[start : start + 8] = bytes(value ^ 255 for value in content[start : start + 8])
    path.write_bytes(content)


def _rename(path: Path, old: str, new: str) -> None:
    path.rename(path.with_name(path.name.replace(old, new)))


def _move_class(path: Path, label: str) -> None:
    path.rename(path.parents[1] / label / path.name)


def _mask_of_ones(root: Path) -> None:
    """A mask of 0 and 1, as some tools write it: black to this reader."""
    Image.fromarray(_draw(4)[1]).save(_mask(root, "train", 4))


def _image_among_training(root: Path) -> None:
    path = _image(root, "test", 3)
    path.rename(root / "segmentation_task/train/images" / path.name)


def _classified_among_training(root: Path) -> None:
    path = _classified(root, "test", 3)
    path.rename(root / "classification_task/train/meningioma" / path.name)


def _foreign_name(root: Path) -> None:
    path = _image(root, "train", 4)
    path.with_name("Tr-gl_0004.jpg").write_bytes(path.read_bytes())


def _unknown_class(root: Path) -> None:
    for find in (_image, _mask, _classified):
        _rename(find(root, "train", 4), "_gl_", "_xx_")


GLIOMA, GLIOMA_WIDE, MENINGIOMA = "brisc2025_train_00004_gl_co_t1", "brisc2025_train_00002_gl_sa_t1", "brisc2025_test_00003_me_ax_t1"

# What is spoilt, what the sentence must say, and how many slices are lost when bad ones are skipped.
BAD = {
    "mask missing": (
        lambda root: _mask(root, "train", 4).unlink(), [f"images/{GLIOMA}.jpg has no mask", f"masks/{GLIOMA}.png not found"], 1),
    "image missing": (
        lambda root: _image(root, "train", 4).unlink(), [f"masks/{GLIOMA}.png has no image", f"images/{GLIOMA}.jpg not found"], 1),
    "both missing": (
        lambda root: (_image(root, "train", 4).unlink(), _mask(root, "train", 4).unlink()),
        [f"glioma/{GLIOMA}.jpg has no counterpart", f"images/{GLIOMA}.jpg not found"], 1),
    "truncated image": (
        lambda root: _cut(_image(root, "test", 3)), [f"images/{MENINGIOMA}.jpg is not a readable image", "truncated"], 1),
    "truncated mask": (lambda root: _cut(_mask(root, "test", 3)), [f"masks/{MENINGIOMA}.png is not a readable image"], 1),
    "corrupt mask": (lambda root: _flip_bits(_mask(root, "test", 3)), [f"masks/{MENINGIOMA}.png is not a readable image"], 1),
    "no picture": (lambda root: _image(root, "test", 3).write_text("404"), [f"images/{MENINGIOMA}.jpg is not a readable image"], 1),
    "empty file": (lambda root: _image(root, "test", 3).write_bytes(b""), [f"images/{MENINGIOMA}.jpg is not a readable image"], 1),
    "mask of another size": (
        lambda root: Image.new("L", (30, 40), 255).save(_mask(root, "train", 4)), [f"{GLIOMA}.png is 30 x 40 px", "image 96 x 96 px"], 1),
    "mask turned": (
        lambda root: Image.new("L", (90, 120), 255).save(_mask(root, "train", 2)),
        [f"{GLIOMA_WIDE}.png is 90 x 120 px", "image 120 x 90 px"], 1),
    "empty mask": (
        lambda root: Image.new("L", (96, 96)).save(_mask(root, "train", 4)),
        [f"masks/{GLIOMA}.png is empty", "above 127, found at most 0"], 1),
    "mask of ones": (_mask_of_ones, [f"masks/{GLIOMA}.png is empty", "found at most 1"], 1),
    "in the folder of another class": (
        lambda root: _move_class(_classified(root, "train", 4), "pituitary"),
        [f"pituitary/{GLIOMA}.jpg is mislabelled", "folder says pituitary but its name glioma"], 1),
    "in the folder of no tumour": (
        lambda root: _move_class(_classified(root, "train", 4), "no_tumor"), [f"no_tumor/{GLIOMA}.jpg is mislabelled"], 1),
    "no tumour among tumours": (
        lambda root: _move_class(_classified(root, "train", 16), "glioma"),
        ["glioma/brisc2025_train_00016_no_ax_t1.jpg is mislabelled", "folder says glioma but its name no_tumor"], 0),
    "a classified file renamed to another class": (
        lambda root: _rename(_classified(root, "train", 4), "_gl_", "_me_"), [f"glioma/{GLIOMA.replace('gl', 'me')}.jpg is mislabelled"], 0),
    "an image renamed to another class": (
        lambda root: _rename(_image(root, "train", 4), "_gl_", "_me_"), [f"masks/{GLIOMA}.png has no image"], 1),
    "a test image among the training ones": (
        _image_among_training, [f"train/images/{MENINGIOMA}.jpg stands under train but its name says test"], 1),
    "a classified test slice among the training ones": (
        _classified_among_training, [f"train/meningioma/{MENINGIOMA}.jpg stands under train but its name says test"], 1),
    "another name": (_foreign_name, ["images/Tr-gl_0004.jpg is not named as BRISC's files are", "brisc2025_train_00001_gl_ax_t1.jpg"], 0),
    "an unknown class code": (_unknown_class, ["brisc2025_train_00004_xx_co_t1.jpg is not named"], 1),
    "two pictures of one name": (
        lambda root: Image.new("L", (96, 96)).save(_image(root, "train", 4).with_suffix(".png")),
        [f"{GLIOMA}.png and {GLIOMA}.jpg are two pictures"], 0),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "parts", "lost"), BAD.values(), ids=BAD)
def test_a_bad_file_is_one_sentence_or_left_out(brisc, spoil, parts, lost):
    good = check_brisc(brisc)
    spoil(brisc)
    with pytest.raises(StudyError) as raised:
        check_brisc(brisc)
    message = one_sentence(str(raised.value))
    assert all(part in message for part in parts), message
    index = check_brisc(brisc, skip_bad=True)
    assert len(index) == 21 - lost
    for sentence in index.attrs["skipped"]:
        one_sentence(sentence)
    assert message in index.attrs["skipped"]
    # What is left is untouched by what was bad.
    assert index.reset_index(drop=True).equals(good[good["id"].isin(index["id"])].reset_index(drop=True))
    assert len(list(read_brisc(brisc, index))) == 21 - lost


def test_several_bad_files_are_all_listed(brisc):
    _mask(brisc, "train", 4).unlink()
    _cut(_image(brisc, "train", 9))
    _move_class(_classified(brisc, "test", 1), "meningioma")
    index = check_brisc(brisc, skip_bad=True)
    named = [[number for number in ("train_00004", "train_00009", "test_00001") if number in sentence] for sentence in index.attrs["skipped"]]
    assert sorted(named) == [["test_00001"], ["train_00004"], ["train_00009"]]
    assert len(index) == 18


def test_a_file_spoilt_after_the_check(brisc):
    index = check_brisc(brisc)
    _cut(_image(brisc, "train", 9))
    _mask(brisc, "train", 2).unlink()
    with pytest.raises(StudyError, match="00002_gl_sa_t1.png is not a readable image"):
        list(read_brisc(brisc, index))
    with pytest.raises(StudyError, match="00009_me_ax_t1.jpg is not a readable image"):
        list(read_brisc(brisc, index[index["id"].str.contains("_00009_")]))


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()


# What skipping cannot mend.
BROKEN = {
    "not there": (_remove, ["brisc2025 not found"]),
    "no layout": (
        lambda root: [_remove(root / f"{task}_task") for task in ("segmentation", "classification")], ["holds no segmentation_task"]),
    "classification alone": (
        lambda root: _remove(root / "segmentation_task"), ["brisc2025 holds only BRISC's classification_task", "masks are needed"]),
    "no masks at all": (lambda root: _remove(root / "segmentation_task/test/masks"), ["segmentation_task/test/masks not found"]),
    "no test": (lambda root: _remove(root / "segmentation_task/test"), ["segmentation_task/test/images not found"]),
    "no glioma": (lambda root: [path.unlink() for path in root.rglob("*_gl_*")], ["brisc2025 has no good slice of class glioma"]),
}  # fmt: skip


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize(("spoil", "parts"), BROKEN.values(), ids=BROKEN)
def test_a_set_that_cannot_be_used(brisc, spoil, parts, skip_bad):
    spoil(brisc)
    with pytest.raises(StudyError) as raised:
        check_brisc(brisc, skip_bad=skip_bad)
    for part in parts:
        assert part in one_sentence(str(raised.value))


def test_all_bad_is_an_error_even_when_bad_ones_are_skipped(brisc):
    for path in (brisc / "segmentation_task").glob("*/masks/*"):
        path.write_bytes(b"")
    with pytest.raises(StudyError, match="no good slice of class glioma, meningioma, pituitary"):
        check_brisc(brisc, skip_bad=True)


def test_a_wrong_layout_is_told_at_once(tmp_path):
    """Before any picture is decoded: one name is wrong among many."""
    root = write_brisc(tmp_path / "brisc2025", train=40, test=10)
    _mask(root, "train", 120).unlink()
    started = time.perf_counter()
    with pytest.raises(StudyError, match="00120"):
        check_brisc(root)
    assert time.perf_counter() - started < 0.2
