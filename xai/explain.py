"""One's own slice: from a picture to class, heatmaps, mask, place, findings and report, with a word on whether it is a slice like those learned."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Iterator

import cv2
import numpy as np
import pandas as pd

from xai import locating
from xai.calibration import tempered
from xai.data.dataset import fit_square
from xai.explaining import split_of
from xai.findings import Findings
from xai.inputs import Scan, read_scan, safe_name
from xai.metrics.overlap import dice
from xai.outliers import Ordinary, Reader, Verdict, judge, ordinary_of
from xai.paths import LABELS, Study, StudyError
from xai.plots import plot_explained
from xai.profiles import Profile, study_profile
from xai.reports import RawStore, Report, WriterFailed, WriterNotRun, WriterSettings, write_report
from xai.saliency import explain, methods_for
from xai.thresholding import masks_of, outlined
from xai.training import load

CONVENTIONS = ("radiological", "neurological", "unknown")
HEAD_PIXELS = 256  # at the few pixels that a network takes, the face of a cat can pass for a head
TISSUE = 0.3  # a slice of a volume is looked at where its signal is at least this share of the brightest one's


@dataclass(frozen=True)
class Explanation:
    """All that was found on one slice; arrays (S, S) at the network's size.

    Attributes
    ----------
    name : str
        Name of the results: the file's, with the number of the slice where the file holds several.
    verdict : Verdict
        Whether it is a slice like those learned. If it shows no head, nothing below it was computed.
    probabilities : dict of class -> float
        Calibrated.
    heatmaps, masks : dict of method -> array
        Heatmaps in [0, 1] and masks by the rule that the study chose on validation.
    agreements : dict of method -> float
        Dice of each mask with that of the segmentation head.
    findings, report : Findings, Report or None
    report_note : str
        Why there is no report.
    """

    name: str
    source: Path
    number: int
    image: np.ndarray
    verdict: Verdict
    scores: dict[str, float]
    probabilities: dict[str, float]
    segmentation: np.ndarray
    ordinary: Ordinary
    architecture: str
    method: str
    notes: tuple[str, ...] = ()
    convention: str | None = None
    heatmaps: dict[str, np.ndarray] = field(default_factory=dict)
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    agreements: dict[str, float] = field(default_factory=dict)
    located: locating.Located | None = None
    findings: Findings | None = None
    report: Report | None = None
    report_note: str = ""

    @property
    def label(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=self.probabilities.get)

    def figure(self):
        """The one figure of the slice; None where it shows no head."""
        if not self.heatmaps:
            return None
        located, mask = self.located, self.masks[self.method]
        atlas = locating.on_atlas(self.image, mask, located.found, convention=self.convention) if located and located.found else None
        return plot_explained(self.image, self.segmentation > 0.5, self.heatmaps, self.masks, self.method, self.probabilities, atlas)

    def save(self, folder: Path | str) -> Path:
        """Write the results into ``folder/<name>/`` and return the HTML page there."""
        from xai.pages import save_explanation

        return save_explanation(self, Path(folder))


class Explainer:
    """A trained network of a study, ready for slices that are not of the study.

    Parameters
    ----------
    study : path or Study
        Folder of a study that ran at least to chapter 4.
    architecture, method : str, optional
        Default: the best on validation.
    writer : str, optional
        Who writes the report; None for no report.
    scorecam_channels : int, optional
        0: all channels, as published; default as the study's profile says.
    store : path
        Folder for what language models are asked and answer; the same question is not asked twice.
    anyway : bool
        Explain and report also what does not look like a slice with a tumour.

    Raises
    ------
    StudyError
        The study, or what is asked of it, is not there.
    """

    def __init__(
        self, study: Path | str | Study, *, architecture: str | None = None, method: str | None = None, writer: str | None = "template",
        scorecam_channels: int | None = None, anyway: bool = False, store: Path | str = "explained/raw",
    ) -> None:  # fmt: skip
        self.study = study if isinstance(study, Study) else Study(study)
        self.profile, self.architecture, self.method = choose(self.study, architecture, method)
        channels = self.profile.saliency.scorecam_channels if scorecam_channels is None else (scorecam_channels or None)
        self.channels, self.writer, self.anyway = channels, writer, anyway
        self.store = _Forgetful(store) if writer == "template" else RawStore(store)

    @cached_property
    def model(self):
        return load(self.study, self.profile, self.architecture)

    @cached_property
    def reader(self) -> Reader:
        return Reader(self.model)

    @cached_property
    def ordinary(self) -> Ordinary:
        return ordinary_of(self.study, self.profile, self.architecture, self.reader)

    @cached_property
    def methods(self):
        split = split_of(self.profile, self.architecture, self.model)
        return methods_for(split, self.profile.saliency.methods, scorecam_channels=self.channels)

    @cached_property
    def rules(self) -> pd.DataFrame:
        rules = pd.read_csv(self.study.table("threshold_rules"))
        return rules[rules["architecture"] == self.architecture].set_index("method")

    @cached_property
    def mark(self) -> str:
        """SHA-256 of what, beside the slice and its options, decides the results."""
        settings = [self.architecture, self.method, self.writer, self.channels, self.anyway, self.rules.to_csv()]
        return hashlib.sha256(self.study.weights(self.architecture).read_bytes() + repr(settings).encode()).hexdigest()

    def slices(self, scan: Scan, wanted: str | None = None) -> list[int]:
        """Numbers of the slices of a file to explain: those `wanted` ("12", "12,40" or "all"), else the one with the largest predicted tumour.

        The tumour's area is that of the segmentation head, among slices that show tissue, and not larger than nearly all in training.
        """
        if wanted == "all":
            return list(range(len(scan)))
        if wanted:
            return [_number(part, scan) for part in wanted.split(",")]
        if len(scan) == 1:
            return [0]
        bright = np.flatnonzero(scan.signal() >= TISSUE)
        if not len(bright):
            return [len(scan) // 2]
        images = np.stack([fit_square(scan.grey(number), self.profile.data.image_size) for number in bright])
        areas = (self.reader(images).masks > 0.5).mean(axis=(1, 2))
        # At the skull base much is bright, and a network that knows no such slice marks all of it.
        believed = np.where(areas <= self.ordinary.facts["largest_area"], areas, 0.0)
        return [int(bright[int((believed if believed.any() else areas).argmax())])]

    def explain(self, scan: Scan, number: int = 0, *, convention: str | None = None, name: str | None = None) -> Explanation:
        """Explain one slice of a scan.

        Parameters
        ----------
        convention : {"radiological", "neurological", "unknown"}, optional
            Which image side is the patient's left. Default: what the file says, else unknown.
        """
        if convention not in (*CONVENTIONS, None):
            raise StudyError(f"The convention is {convention!r}, expected one of {', '.join(CONVENTIONS)}.")
        told = "radiological" if scan.sides_known else convention
        told = None if told == "unknown" else told
        notes = scan.notes
        if scan.sides_known and convention in ("neurological", "unknown"):
            notes = (*notes, "the header says left and right, so the convention given was not used")
        image = fit_square(scan.grey(number), self.profile.data.image_size)
        answers = self.reader(image[None])
        scores = {key: float(value[0]) for key, value in self.ordinary.scores(answers).items()}
        calibrated = tempered(answers.logits, self.ordinary.temperature)[0]
        heatmaps, masks = self._heatmaps(image, int(calibrated.argmax()))
        plane, mask = scan.plane or "unknown", masks[self.method]
        located = locating.place(image, mask, plane, convention=told)
        seen = locating.place(*_finer(scan.grey(number), mask), plane, convention=told)
        verdict = judge(self.ordinary, scores, is_head=seen.found is not None)
        common = dict(
            name=name or self.name(scan, number), source=scan.path, number=number, image=image, scores=scores, notes=notes, verdict=verdict,
            probabilities=dict(zip(LABELS, map(float, calibrated))), segmentation=answers.masks[0], ordinary=self.ordinary,
            architecture=self.architecture, method=self.method, convention=told,
        )  # fmt: skip
        if verdict.kind == "no head" and not self.anyway:
            return Explanation(**common, report_note="No report is written about what is not a slice of a head.")
        head = answers.masks[0] > 0.5
        agreements = {method: float(dice(one[None], head[None])[0]) for method, one in masks.items()}
        located = located._replace(flags=[*located.flags, *verdict.flags, *map(_as_flag, notes)])
        findings = locating.make_findings(
            common["name"], mask, common["probabilities"], located, agreement=agreements[self.method],
            source=(self.architecture, self.method), study=self.study.name,
        )  # fmt: skip
        report, note = self._report(findings, verdict)
        return Explanation(
            **common, heatmaps=heatmaps, masks=masks, agreements=agreements, located=located, findings=findings, report=report, report_note=note
        )

    def _heatmaps(self, image: np.ndarray, label: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Heatmaps of a class by method, and the mask of each by the rule and step that validation chose."""
        _, found = next(explain(self.methods, image[None], classes=np.array([label])))
        masks = {}
        for method, heatmap in found.items():
            choice = self.rules.loc[method]
            mask = masks_of(choice["rule"], heatmap, image[None], self.profile, chosen=choice["percentile"])
            masks[method] = outlined(choice["outline"], mask, heatmap, image[None])[0]
        return {method: heatmap[0] for method, heatmap in found.items()}, masks

    def _report(self, findings: Findings, verdict: Verdict) -> tuple[Report | None, str]:
        if self.writer is None:
            return None, "No report was asked for."
        if verdict.kind != "ordinary" and not self.anyway:
            return None, f"No report is written: {verdict.title}."
        profile = self.profile.reports
        own = profile.settings.get(self.writer)
        settings = WriterSettings(
            model=own.model if own else None, base_url=own.base_url if own else None, temperature=profile.temperature,
            seed=self.profile.seed, max_tokens=profile.max_tokens, timeout_seconds=profile.timeout_seconds,
        )  # fmt: skip
        try:
            return write_report(findings, self.writer, settings=settings, store=self.store), ""
        except (WriterNotRun, WriterFailed) as error:
            return None, f"Not run: {error}"

    @staticmethod
    def name(scan: Scan, number: int) -> str:
        """Name of the results of one slice."""
        return safe_name(scan.path) + (f"-slice{number:03d}" if len(scan) > 1 else "")


def explain_file(path: Path | str, study: Path | str | Study, *, slices: str | None = None, plane: str | None = None, convention: str | None = None, **options) -> Iterator[Explanation]:
    """Explain the slices of one file; `slices` as in `Explainer.slices`, `options` as of `Explainer`."""
    explainer, scan = Explainer(study, **options), read_scan(path, plane=plane)
    for number in explainer.slices(scan, slices):
        yield explainer.explain(scan, number, convention=convention)


def choose(study: Study, architecture: str | None = None, method: str | None = None) -> tuple[Profile, str, str]:
    """The profile of a study, and the network and method to explain with: those named, else the best on validation of those that are trained.

    Raises
    ------
    StudyError
        No study there, nothing trained or no thresholds chosen yet, or the one named is not there.
    """
    if not study.root.is_dir():
        raise StudyError(f"Study {study.root} does not exist; make one with `make book`, or name the folder of one, such as runs/quick.")
    profile = study_profile(study.profile)
    trained = [name for name in profile.training.architectures if study.weights(name).exists() and study.history(name).exists()]
    if not trained:
        raise StudyError(f"{study.root} holds no trained network; run `make book STUDY={study.name}` first.")
    rules = pd.read_csv(study.need(study.table("threshold_rules"), "04_thresholding"))
    usable = [name for name in trained if name in set(rules["architecture"])]
    if architecture is not None and architecture not in usable:
        raise StudyError(f"{study.root} has no trained network {architecture!r} with thresholds; choose one of {', '.join(usable) or 'none yet'}.")
    if not usable:
        raise StudyError(f"{study.table('threshold_rules')} names none of the trained networks; run chapter 04_thresholding of that study again.")
    known = tuple(rules.loc[rules["architecture"] == (architecture or usable[0]), "method"])
    if method is not None and method not in known:
        raise StudyError(f"{study.root} has no thresholds for the method {method!r}; choose one of {', '.join(known)}.")
    named = {"architecture": architecture or profile.atlas.architecture, "method": method or profile.atlas.method}
    if named["architecture"] not in usable:
        named["architecture"] = None
    narrowed = profile.model_copy(update={
        "training": profile.training.model_copy(update={"architectures": tuple(usable)}),
        "atlas": profile.atlas.model_copy(update=named),
    })  # fmt: skip
    return narrowed, *locating.choose_explanation(study, narrowed)


class _Forgetful(RawStore):
    """Keeps nothing: what a template says needs no record."""

    def get(self, writer: str, digest: str) -> None:
        return None

    def put(self, *arguments) -> None:
        pass


def _number(text: str, scan: Scan) -> int:
    if not text.strip().isdigit() or int(text) >= len(scan):
        raise StudyError(f"{scan.path} has no slice {text.strip()!r}; expected a number from 0 to {len(scan) - 1}, several with commas, or all.")
    return int(text)


def _finer(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The slice with pixels enough to tell a head from other things, and its mask; one pixel in the middle where the mask is empty."""
    side = max(HEAD_PIXELS, len(mask))
    fine = cv2.resize(mask.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST) > 0
    fine[side // 2, side // 2] |= not fine.any()
    return fit_square(image, side), fine


def _as_flag(note: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() or c in " _,.;:%'()+/<>=-" else " " for c in note)[:200]
