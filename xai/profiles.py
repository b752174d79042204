"""Every knob of a run, validated. A profile is a YAML file of `profiles/`; what it leaves out keeps the default here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from xai.paths import METHODS, VARIANTS, StudyError, write_text

Architecture = Literal[
    "vgg16", "vgg19", "resnet50", "resnet50v2", "xception",
    "inceptionv3", "densenet121", "efficientnetb0", "inceptionresnetv2",
]  # fmt: skip
NINE: tuple[str, ...] = Architecture.__args__
Variant = Literal["hybrid", "two_heads", "classification_only", "segmentation_only"]
SMALLEST_INPUT = {"xception": 71, "inceptionv3": 75, "inceptionresnetv2": 75}  # of keras.applications; the rest take 32


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Data(Section):
    source: Literal["phantom", "folder", "figshare", "brisc"] = "phantom"
    root: str | None = Field(None, description="folder of the slices; for source `folder` the one that holds index.csv")
    base_url: str | None = Field(None, description="source `figshare`: download from here into `root` what is not there yet; "
                                 "`published` for the address of the publication")  # fmt: skip
    skip_bad: bool = Field(False, description="figshare, brisc: leave unreadable slices out instead of stopping at the first")
    image_size: int = Field(96, ge=32, le=512)
    subjects: int = Field(60, ge=9, le=100_000, description="phantom subjects, spread evenly over the three classes")
    slices_per_subject: int = Field(6, ge=1, le=60)
    slices_per_class: int | None = Field(None, ge=3, description="keep at most so many, taken in turn from all patients, in order of a seeded draw")
    validation_share: float = Field(0.15, gt=0, lt=0.5)
    test_share: float = Field(0.2, gt=0, lt=0.5)
    validation_fold: int | None = Field(None, description="published fold that validates; with test_fold")
    test_fold: int | None = Field(None, description="published fold that tests; overrides the shares")

    @model_validator(mode="after")
    def _consistent(self) -> "Data":
        if self.source != "phantom" and self.root is None:
            raise ValueError(f"`data.root` is needed with `data.source: {self.source}` (make book SOURCE={self.source} ROOT=/path)")
        if self.base_url is not None and self.source != "figshare":
            raise ValueError(f"`data.base_url` serves `data.source: figshare` alone, found {self.source}; remove it")
        if (self.test_fold is None) != (self.validation_fold is None):
            raise ValueError("`data.test_fold` and `data.validation_fold` go together; set both or neither")
        if self.test_fold is not None and self.test_fold == self.validation_fold:
            raise ValueError("`data.test_fold` and `data.validation_fold` must differ")
        return self


Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]


class Leakage(Section):
    """The demonstration of what a split by slice pretends."""

    architecture: Architecture | None = Field(None, description="null: no demonstration")
    seeds: int = Field(2, ge=1, le=20)
    epochs: int | None = Field(None, ge=1, le=1000, description="null: those of the training")


class Curve(Section):
    """The learning curve: scores against the number of training patients."""

    architecture: Architecture | None = Field(None, description="null: no curve")
    shares: tuple[float, ...] = Field((0.25, 0.5), min_length=1, description="of the training patients; the whole comes by itself")

    @field_validator("shares")
    @classmethod
    def _parts(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < share < 1 for share in value):
            raise ValueError("`training.curve.shares` must lie between 0 and 1")
        return value


class Training(Section):
    architectures: tuple[Architecture, ...] = NINE
    epochs: int = Field(10, ge=1, le=1000, description="of one cosine cycle of the learning rate")
    cycles: int = Field(1, ge=1, le=100, description="how many cycles, each from the best weights; raised later, a finished run goes on")
    batch_size: int = Field(8, ge=2, le=512)
    learning_rate: float = Field(1e-3, gt=0, le=1)
    # VGG has no normalisation layers and diverges at rates the others like.
    learning_rates: dict[Architecture, float] = Field(default_factory=dict)
    warmup_share: float = Field(0.1, ge=0, lt=1)
    segmentation_weight: float = Field(1.0, ge=0, description="lambda of: cross-entropy + lambda x (Dice + BCE)")
    encoder_weights: str | None = None
    start_from: str | None = Field(None, description="weights file of a trained hybrid to go on from, as a former study of the same split left it, perhaps of another image size")
    batch_norm_momentum: float | None = Field(None, gt=0, lt=1)
    dropout: float = Field(0.2, ge=0, lt=1)
    augment: bool | Literal["strong"] = Field(True, description="strong: wider ranges, bent heads, other scanners; for long trainings on few patients")
    test_time_augmentation: bool = Field(False, description="answers on test slices averaged over seven views of each, at seven times the cost")
    patience: int | None = Field(None, ge=1, description="epochs without a better validation score before stopping")
    run_eagerly: bool = False
    precision: Precision = Field(
        "float32", description="of the training alone; bfloat16 for CPUs with AVX512-BF16 and GPUs since Ampere, float16 for older GPUs"
    )
    # EfficientNet is slower in bfloat16 on a CPU, all others are faster.
    precisions: dict[Architecture, Precision] = Field(default_factory=dict)
    weight_decay: float = Field(0.0, ge=0, le=1, description="decoupled (AdamW), on kernels only")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    leakage: Leakage = Leakage()
    curve: Curve = Curve()
    shuffled: Architecture | None = Field(None, description="which network is also trained on shuffled labels; null: none")
    ablation: tuple[Architecture, ...] = ()
    ablation_variants: tuple[Variant, ...] = Field(VARIANTS, description="what is compared; the hybrid is always among them")
    ablation_seeds: int = Field(1, ge=1, le=20, description="how often each variant of the ablation is trained")

    @field_validator("architectures")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("`training.architectures` must name at least one architecture, and each only once")
        return value

    @model_validator(mode="after")
    def _start_alone(self) -> "Training":
        anew = self.ablation or self.leakage.architecture or self.curve.architecture or self.shuffled
        if self.start_from is not None and (len(self.architectures) > 1 or anew):
            raise ValueError(
                "`training.start_from` goes with one of `training.architectures` alone, and without `ablation`, `leakage`, `curve` and `shuffled`, whose "
                "networks must start anew; leave those out"
            )
        return self

    @field_validator("ablation_variants")
    @classmethod
    def _with_the_hybrid(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "hybrid" not in value or len(value) < 2 or len(set(value)) != len(value):
            raise ValueError("`training.ablation_variants` must name the hybrid and at least one other variant, and each only once")
        return value


class Saliency(Section):
    methods: tuple[Literal["gradcam", "gradcampp", "scorecam"], ...] = Field(METHODS, min_length=1)
    minimum_grid: int = Field(5, ge=2, le=64)
    target_layers: dict[Architecture, str] = Field(default_factory=dict, description="of named networks another layer than the last useful one")
    scorecam_channels: int | None = Field(None, ge=1, description="null: all channels, as published; a number: approximate")
    test_slices: int | None = Field(None, ge=3, description="explain so many test slices, balanced over classes; null: all")
    validation_slices: int | None = Field(24, ge=3)
    faithfulness_slices: int = Field(9, ge=1)
    faithfulness_steps: int = Field(10, ge=2, le=200)
    sanity_slices: int = Field(6, ge=1)
    sanity_stages: int = Field(5, ge=2, le=50)


class Masks(Section):
    fixed_percentile: float = Field(90.0, gt=0, lt=100)
    lowest_percentile: int = Field(70, ge=1, le=98)
    highest_percentile: int = Field(99, ge=2, le=99)
    step: int = Field(1, ge=1, le=20)
    opening_radius: int = Field(1, ge=0, le=10)

    @model_validator(mode="after")
    def _ordered(self) -> "Masks":
        if self.lowest_percentile >= self.highest_percentile:
            raise ValueError("`masks.lowest_percentile` must be below `masks.highest_percentile`")
        return self


class Atlas(Section):
    architecture: Architecture | None = Field(None, description="null: the best on validation")
    method: Literal["gradcam", "gradcampp", "scorecam"] | None = Field(None, description="null: the best on validation")
    convention: Literal["radiological", "neurological"] | None = Field(
        "radiological", description="which image side is the patient's left; null: unknown, and no side is reported"
    )
    validation_cases: int = Field(45, ge=3)


WriterName = Literal["template", "smollm2", "llama", "grok3", "mistral", "openai_compatible"]


class Writer(Section):
    model: str | None = None
    base_url: str | None = None
    # Prices change and differ by contract, so none is given here; without them the cost is shown as unknown.
    input_price: float | None = Field(None, ge=0, description="of a million tokens read, in the currency of your bill; null: unknown")
    output_price: float | None = Field(None, ge=0, description="of a million tokens written, in the same currency")


class Reports(Section):
    writers: tuple[WriterName, ...] = Field(("template", "smollm2", "llama", "grok3", "mistral"), min_length=1)
    findings: int = Field(12, ge=1, description="how many explained slices are narrated, balanced over classes")
    temperature: float | None = Field(None, ge=0, le=2, description="null: the default of each writer")
    max_tokens: int = Field(500, ge=50)
    timeout_seconds: float = Field(60, gt=0)
    settings: dict[WriterName, Writer] = Field(default_factory=dict, description="model id, base address and prices by writer")


class Evaluation(Section):
    bootstrap: int = Field(1000, ge=10, le=100_000)


class Profile(Section):
    """All parameters of a study, in the order its chapters use them."""

    seed: int = Field(2026, ge=0)
    data: Data = Data()
    training: Training = Training()
    saliency: Saliency = Saliency()
    masks: Masks = Masks()
    atlas: Atlas = Atlas()
    reports: Reports = Reports()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _inputs_large_enough(self) -> "Profile":
        shown = filter(None, (self.training.leakage.architecture, self.training.curve.architecture))
        for architecture in (*self.training.architectures, *self.training.ablation, *shown):
            smallest = SMALLEST_INPUT.get(architecture, 32)
            if self.data.image_size < smallest:
                raise ValueError(
                    f"{architecture} needs `data.image_size` of at least {smallest}, found {self.data.image_size}"
                )
        extra = set(self.training.ablation) - set(self.training.architectures)
        if extra:
            raise ValueError(f"`training.ablation` names {', '.join(sorted(extra))}, which `training.architectures` lacks")
        return self


def load_profile(path: Path | str, **data: str | None) -> Profile:
    """Read and validate a profile; `data` overrides entries of its data section where not None.

    Raises
    ------
    StudyError
        One sentence: which file, which key, what was found and what is expected.
    """
    path = Path(path)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise StudyError(f"Profile {path} not found; profiles there: {known}.")
    try:
        return Profile.model_validate(_with_changes(_read(path), {"data": data}))
    except ValidationError as error:
        raise StudyError(f"Profile {path}: {_sentence(error)}") from error


def save_profile(profile: Profile, path: Path) -> None:
    """Write the resolved profile, every default spelled out; an unchanged file keeps its time stamp."""
    text = yaml.safe_dump(profile.model_dump(mode="json"), sort_keys=False)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def study_profile(path: Path, **sections: dict) -> Profile:
    """The resolved profile of a study, with a chapter's own parameters put over it where they are not None.

    Parameters
    ----------
    path : Path
        `Study.profile`.
    sections : dict
        For example ``masks={"fixed_percentile": 85}``; validated like the profile itself.

    Raises
    ------
    StudyError
        The study has no profile yet, or a value is not allowed.
    """
    if not path.exists():
        raise StudyError(
            f"{path} is missing; make it with `python -m xai.preflight --profile profiles/quick.yaml --study {path.parent}`."
        )
    try:
        return Profile.model_validate(_with_changes(_read(path), sections))
    except ValidationError as error:
        raise StudyError(f"Parameters of this chapter: {_sentence(error)}") from error


def _read(path: Path) -> dict:
    """The mapping in a YAML file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"Profile {path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise StudyError(f"Profile {path} holds a {type(content).__name__}; expected sections such as `data:`.")
    return content


def _with_changes(content: dict, sections: dict[str, dict]) -> dict:
    """Put the values that are not None over their sections; a section that is no mapping is left for the validation to refuse."""
    for section, values in sections.items():
        changes = {key: value for key, value in values.items() if value is not None}
        present = content.get(section) or {}
        if changes and isinstance(present, dict):
            content = {**content, section: {**present, **changes}}
    return content


def _sentence(error: ValidationError) -> str:
    """The first problem of a validation, in words a user can act on."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        # Writers stand in a mapping, the only place where a section is not a field.
        section = Writer if "settings" in problem["loc"][:-1] else Profile
        for part in problem["loc"][:-1] if section is Profile else ():
            section = section.model_fields[part].annotation
        expected = ", ".join(section.model_fields)
        return f"unknown key `{key}`; expected one of {expected}."
    message = problem["msg"].removeprefix("Value error, ")
    where = f"`{key}` " if key and problem["type"] != "value_error" else ""
    found = "" if problem["type"] == "value_error" else f", found {problem['input']!r}"
    return f"{where}{message[0].lower() + message[1:]}{found}."
