"""Reports with known errors, to test the fact checker with: findings drawn at random, written in many words, spoiled on purpose."""

from xai.planted.benchmark import Outcome, detected, run_benchmark
from xai.planted.development import DEVELOPMENT
from xai.planted.held_out import HELD_OUT
from xai.planted.planting import Planted, alter, clean_report, plant
from xai.planted.wording import INVENTED, KINDS, REPLACED, Wording

__all__ = [
    "DEVELOPMENT", "HELD_OUT", "INVENTED", "KINDS", "REPLACED", "Outcome", "Planted", "Wording", "alter", "clean_report", "detected",
    "plant", "run_benchmark",
]  # fmt: skip
