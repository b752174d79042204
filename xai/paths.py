"""Where everything of a study lies. No other module spells a path of a run."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

LABELS = ("glioma", "meningioma", "pituitary")
PLANES = ("axial", "coronal", "sagittal")
METHODS = ("gradcam", "gradcampp", "scorecam")
VARIANTS = ("hybrid", "two_heads", "classification_only", "segmentation_only")


class StudyError(ValueError):
    """Bad input or a missing earlier stage, told in one sentence with the way out."""


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path` that becomes `path` only if the block succeeds.

    A killed or failing run leaves the old file or none, never half of one.
    The temporary name keeps the suffix, because writers such as numpy and Keras choose a format by it.
    """
    path = Path(path)
    suffix = "".join(path.suffixes)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name.removesuffix(suffix)}-", suffix=suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes files private; a study is as readable as the umask says.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        # numpy reports a short write without an error number: "3000 requested and 1024 written".
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or (error.errno is None and "requested and" in str(error)):
            raise StudyError(
                f"The disk filled up while writing {path}; free some space and run the same command again: "
                "what was finished before is kept."
            ) from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class Study:
    """The files of one study, below `root` (for example ``runs/quick``).

    Every attribute and method gives a `Path`; nothing is created or read here, except by `need`.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.name = self.root.name
        self.profile = self.root / "profile.yaml"
        self.data = self.root / "data"
        self.images = self.data / "images.npy"
        self.masks = self.data / "masks.npy"
        self.index = self.data / "index.csv"
        # MNI152 millimetres of every pixel, float16 (N, S, S, 3); only sources that know the truth have it.
        self.mni = self.data / "mni.npy"
        self.tables = self.root / "tables"
        self.figures = self.root / "figures"
        self.notebooks = self.root / "notebooks"

    def model(self, architecture: str, variant: str = "hybrid") -> Path:
        """Folder of one trained network; the ablation's variants stand beside the hybrid."""
        folder = architecture if variant == "hybrid" else f"{architecture}-{variant}"
        return self.root / "models" / folder

    def weights(self, architecture: str, variant: str = "hybrid") -> Path:
        return self.model(architecture, variant) / "model.weights.h5"

    def predictions(self, architecture: str, variant: str = "hybrid") -> Path:
        return self.model(architecture, variant) / "predictions.csv"

    def history(self, architecture: str, variant: str = "hybrid") -> Path:
        return self.model(architecture, variant) / "history.csv"

    def seconds(self, architecture: str, variant: str = "hybrid") -> Path:
        return self.model(architecture, variant) / "seconds.json"

    def ordinary(self, architecture: str, variant: str = "hybrid") -> Path:
        """What slices like those a network learned look like to it, and its temperature; made on first use."""
        return self.model(architecture, variant) / "ordinary.npz"

    def test_masks(self, architecture: str, variant: str = "hybrid") -> Path:
        return self.model(architecture, variant) / "test_masks.npy"

    def heatmaps(self, architecture: str, method: str) -> Path:
        return self.root / "saliency" / architecture / f"{method}.npy"

    def saliency_table(self, architecture: str, name: str) -> Path:
        """A table of one architecture's saliency chapter, before the chapters after it join them."""
        return self.root / "saliency" / architecture / f"{name}.csv"

    def cam_masks(self, architecture: str, method: str) -> Path:
        return self.root / "masks" / architecture / f"{method}.npy"

    def findings(self, identifier: str) -> Path:
        return self.root / "findings" / f"{identifier}.json"

    def reports(self, writer: str) -> Path:
        return self.root / "reports" / f"{writer}.jsonl"

    def table(self, name: str) -> Path:
        return self.tables / f"{name}.csv"

    def figure(self, name: str, suffix: str = "svg") -> Path:
        return self.figures / f"{name}.{suffix}"

    def notebook(self, name: str) -> Path:
        return self.notebooks / f"{name}.ipynb"

    def need(self, path: Path, made_by: str) -> Path:
        """Return `path`, or say in one sentence which chapter makes it.

        Raises
        ------
        StudyError
            If the file does not exist.
        """
        if not path.exists():
            raise StudyError(
                f"{path} is missing; it is made by chapter {made_by}: run `make book STUDY={self.name}` "
                f"or that chapter alone with `papermill -p study {self.root}`."
            )
        return path
