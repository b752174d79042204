"""Ways of writing reports: those that the fact checker was adapted to, and three that it was not; each a YAML file beside this one.

A set that was run once and read is spent: what the checker missed on it was mended, so it can only show what is broken again. The
errors on `HELD_OUT` have been read as well: until another author's set takes its place, its figure is one of development.
"""

from pathlib import Path
from typing import Any

import yaml

from xai.planted.wording import Wording


def _read(name: str) -> Wording:
    text = Path(__file__).with_name(f"{name}.yml").read_text(encoding="utf-8")
    return Wording(**_frozen(yaml.safe_load(text)))


def _frozen(value: Any) -> Any:
    """Lists as tuples, at any depth."""
    if isinstance(value, dict):
        return {key: _frozen(entry) for key, entry in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


ADAPTED_TO = tuple(_read(name) for name in ("first", "second", "third", "fourth", "fifth", "sixth", "varied"))
HELD_OUT = _read("held_out")
INDEPENDENT = _read("independent")  # by an author who had not seen the checker
SECOND_READER = _read("second_reader")  # by another such author, who had seen no other set but the held-out one

__all__ = ["ADAPTED_TO", "HELD_OUT", "INDEPENDENT", "SECOND_READER"]
