"""BRISC 2025 (Fateh et al., arXiv 2506.14318) as it is unpacked: class and plane from the file names, masks by the same name."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Callable, Iterator, NoReturn

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from xai.data.dataset import Slice
from xai.data.folder import decode_grey
from xai.data.similar import cluster, name_groups, perceptual_hashes
from xai.paths import LABELS, StudyError

NAME = re.compile(r"brisc2025_(?P<part>train|test)_[0-9]{1,9}_(?P<label>gl|me|pi|no)_(?P<plane>ax|co|sa)_t1")
EXAMPLE = "brisc2025_train_00001_gl_ax_t1"
PARTS = ("train", "test")
CLASSES = {"gl": "glioma", "me": "meningioma", "pi": "pituitary", "no": "no_tumor"}
VIEWS = {"ax": "axial", "co": "coronal", "sa": "sagittal"}
SUFFIXES = (".jpg", ".jpeg", ".png")
WAY_OUT = "replace it, or leave bad slices out by `data.skip_bad: true`"
Reject = Callable[[str], None]  # is told, in one sentence, what is bad: it stops, or notes it where bad slices are skipped


def check_brisc(root: Path | str, *, skip_bad: bool = False) -> pd.DataFrame:
    """List the tumour slices of BRISC 2025, every file decoded once, and group those that look alike.

    BRISC names no patients. Column `patient` therefore holds groups of near-duplicate slices (`xai.data.similar`): they keep copies and
    about half of the adjacent slices together, but not all slices of a patient; a split by them is better than one by slice and worse
    than one by patient. The published split stays in `published_split` and is not used: some slices stand in both of its halves.

    Parameters
    ----------
    root : path
        Folder that holds `segmentation_task` (and, where it was unpacked too, `classification_task`), or the folder around `brisc2025`.
    skip_bad : bool, default=False
        Leave bad slices out and list them, instead of stopping at the first.

    Returns
    -------
    pandas.DataFrame
        Columns id, image, mask (paths relative to `root`), label, patient, plane, published_split, all text, in order of id.
        `attrs["skipped"]`: one sentence about each file found bad. `attrs["left_aside"]`: how many slices without a tumour there are;
        they have no mask and are not read.

    Raises
    ------
    StudyError
        One sentence naming the first file that is wrong: no partner of the same name, unreadable, of another size than its partner, an
        empty mask, or a name that is not BRISC's or contradicts the folder.
    """
    root = Path(root)
    home = _home(root)
    skipped: list[str] = []
    reject = skipped.append if skip_bad else _stop
    records, aside = _pairs(home, reject)
    records, no_tumour = _agree_with_folders(home, records, reject)
    kept: list[dict] = []
    # The stream fills `kept` while it is hashed, so the ids are known in the end.
    hashes = perceptual_hashes(_readable_images(root, records, reject, kept))
    index = pd.DataFrame(kept, columns=["id", "image", "mask", "label", "plane", "published_split"])
    absent = [label for label in LABELS if label not in set(index["label"])]
    if absent:
        raise StudyError(f"{home} has no good slice of class {', '.join(absent)}; the study needs all three classes of tumour.")
    index.insert(4, "patient", name_groups(index["id"], cluster(hashes)))
    index.attrs.update(skipped=skipped, left_aside=len(aside | no_tumour))
    return index


def read_brisc(root: Path | str, index: pd.DataFrame) -> Iterator[Slice]:
    """Yield the slices of a checked index, one decoded pair of files at a time, each at its own size.

    Raises
    ------
    StudyError
        A file changed since the check and is no longer good.
    """
    for row in index.itertuples():
        image, mask = _read_pair(Path(root), row.image, row.mask)
        yield Slice(row.id, image, mask, row.label, row.patient, row.plane)


def _home(root: Path) -> Path:
    """The folder that holds the tasks."""
    if not root.is_dir():
        raise StudyError(f"Data folder {root} not found; give the folder into which BRISC 2025 was unpacked.")
    homes = [folder for folder in (root, root / "brisc2025") if (folder / "segmentation_task").is_dir()]
    if not homes:
        if any((folder / "classification_task").is_dir() for folder in (root, root / "brisc2025")):
            raise StudyError(f"{root} holds only BRISC's classification_task; unpack segmentation_task as well, because masks are needed.")
        raise StudyError(f"{root} holds no segmentation_task; give the folder brisc2025 as it was unpacked, or the one around it.")
    for folder in (homes[0] / "segmentation_task" / part / kind for part in PARTS for kind in ("images", "masks")):
        if not folder.is_dir():
            raise StudyError(f"{folder} not found; BRISC's segmentation_task has images and masks in both train and test: unpack it again.")
    return homes[0]


def _pairs(home: Path, reject: Reject) -> tuple[list[dict], set[str]]:
    """Images and masks of the same name, with their full paths, and the ids without a tumour."""
    records, aside = [], set()
    for part in PARTS:
        folder = home / "segmentation_task" / part
        images, masks = _pictures(folder / "images", reject), _pictures(folder / "masks", reject)
        for identifier in sorted(images.keys() | masks.keys()):
            path = images.get(identifier, masks.get(identifier))
            name = _parse(path, part, reject)
            if name is None:
                continue
            if name["label"] == "no_tumor":
                aside.add(identifier)
            elif identifier not in masks:
                reject(f"Image {path} has no mask: {folder / 'masks' / identifier}.png not found; every image needs one.")
            elif identifier not in images:
                reject(f"Mask {path} has no image: {folder / 'images' / identifier}.jpg not found; every mask needs one.")
            else:
                records.append({"id": identifier, "image": path, "mask": masks[identifier], **name, "published_split": part})
    return records, aside


def _agree_with_folders(home: Path, records: list[dict], reject: Reject) -> tuple[list[dict], set[str]]:
    """Compare with the classification task where it is there: records it does not contradict, and the ids without a tumour."""
    contradicted, no_tumour = set(), set()
    segmented = home / "segmentation_task"
    known = {path.stem for path in segmented.glob("*/*/*")}
    for part, label in itertools.product(PARTS, CLASSES.values()):
        folder = home / "classification_task" / part / label
        for identifier, path in _pictures(folder, reject).items() if folder.is_dir() else ():
            name = _parse(path, part, reject)
            if name is None:
                contradicted.add(identifier)
            elif name["label"] != label:
                contradicted.add(identifier)
                reject(f"{path} is mislabelled: its folder says {label} but its name {name['label']}; move or rename it.")
            elif label == "no_tumor":
                no_tumour.add(identifier)
            elif identifier not in known:
                missing = segmented / part / "images" / path.name
                reject(f"{path} has no counterpart: {missing} not found; unpack segmentation_task again.")
    return [record for record in records if record["id"] not in contradicted], no_tumour


def _pictures(folder: Path, reject: Reject) -> dict[str, Path]:
    """Picture files by name without suffix, in order; what an operating system leaves behind (.DS_Store, ._x.jpg, Thumbs.db) is none."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            if path.stem in found:
                reject(f"{path} and {found[path.stem].name} are two pictures of one name; keep one.")
            found.setdefault(path.stem, path)
    return found


def _parse(path: Path, part: str, reject: Reject) -> dict[str, str] | None:
    """Label and plane from a file's name; None where the name was rejected."""
    name = NAME.fullmatch(path.stem)
    if name is None:
        reject(f"{path} is not named as BRISC's files are; expected a name such as {EXAMPLE}{path.suffix}: rename or remove it.")
        return None
    if name["part"] != part:
        reject(f"{path} stands under {part} but its name says {name['part']}; move or remove it.")
        return None
    return {"label": CLASSES[name["label"]], "plane": VIEWS[name["plane"]]}


def _readable_images(root: Path, records: list[dict], reject: Reject, kept: list[dict]) -> Iterator[np.ndarray]:
    """Yield the image of every record whose pair of files is good, and append the record, with relative paths, to `kept`."""
    for record in tqdm(sorted(records, key=lambda record: record["id"]), desc="checking slices", unit="slice", disable=None):
        paths = {kind: record[kind].relative_to(root).as_posix() for kind in ("image", "mask")}
        try:
            image, _ = _read_pair(root, **paths)
        except StudyError as error:
            reject(str(error))
            continue
        kept.append({**record, **paths})
        yield image


def _read_pair(root: Path, image: str, mask: str) -> tuple[np.ndarray, np.ndarray]:
    """Grey values and tumour (0 or 1), both uint8 (H, W)."""
    grey, tumour = decode_grey(root / image, way_out=WAY_OUT), decode_grey(root / mask, way_out=WAY_OUT)
    if grey.shape != tumour.shape:
        sizes = [f"{width} x {height}" for height, width in (tumour.shape, grey.shape)]
        raise StudyError(f"Mask {root / mask} is {sizes[0]} px but its image {sizes[1]} px; {WAY_OUT}.")
    if tumour.max() <= 127:
        raise StudyError(f"Mask {root / mask} is empty: expected tumour pixels above 127, found at most {tumour.max()}; {WAY_OUT}.")
    return grey, (tumour > 127).astype(np.uint8)


def _stop(sentence: str) -> NoReturn:
    raise StudyError(sentence)
