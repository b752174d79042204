"""Reports with known errors, to test the fact checker with: findings drawn at random, written in many words, spoiled on purpose."""

from xai.planted.benchmark import Outcome, detected, run_benchmark
from xai.planted.development import DEVELOPMENT
from xai.planted.planting import Planted, alter, clean_report, plant
from xai.planted.validation import VALIDATION
from xai.planted.validation_more import VALIDATION_MORE
from xai.planted.wording import INVENTED, KINDS, REPLACED, Wording

__all__ = [
    "DEVELOPMENT", "INVENTED", "KINDS", "REPLACED", "VALIDATION", "VALIDATION_MORE", "Outcome", "Planted", "Wording", "alter", "clean_report", "detected",
    "plant", "run_benchmark",
]  # fmt: skip
