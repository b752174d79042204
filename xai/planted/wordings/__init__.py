"""Ways of writing reports: those that the fact checker was adapted to, and one that it was not.

A set that was run once and read is spent: what the checker missed on it was mended, so it can only show what is broken again.
"""

from xai.planted.wordings.fifth import FIFTH
from xai.planted.wordings.first import FIRST
from xai.planted.wordings.fourth import FOURTH
from xai.planted.wordings.held_out import HELD_OUT
from xai.planted.wordings.second import SECOND
from xai.planted.wordings.sixth import SIXTH
from xai.planted.wordings.third import THIRD

ADAPTED_TO = (FIRST, SECOND, THIRD, FOURTH, FIFTH, SIXTH)

__all__ = ["ADAPTED_TO", "HELD_OUT"]
