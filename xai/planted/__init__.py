"""Reports with known errors, to test the fact checker with: findings drawn at random, written in many words, spoiled on purpose."""

from xai.planted.benchmark import Outcome, detected, run_benchmark
from xai.planted.counterfactuals import counterfactuals
from xai.planted.planting import Planted, alter, clean_report, plant
from xai.planted.wording import INVENTED, KINDS, REPLACED, Wording
from xai.planted.wordings import ADAPTED_TO, HELD_OUT

__all__ = [
    "ADAPTED_TO", "HELD_OUT", "INVENTED", "KINDS", "REPLACED", "Outcome", "Planted", "Wording", "alter",
    "clean_report", "counterfactuals", "detected", "plant", "run_benchmark",
]  # fmt: skip
