"""Ways of writing reports: those that the fact checker was adapted to, and one that it was not; each a YAML file beside this one.

A set whose errors were read is spent: what the checker missed on it was mended, so it can only show what is broken again. `HELD_OUT` is
by another author than the checker, and no error on it has been read.
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


ADAPTED_TO = tuple(_read(name) for name in ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "varied", "independent"))
HELD_OUT = _read("second_reader")

__all__ = ["ADAPTED_TO", "HELD_OUT"]
