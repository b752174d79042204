"""Showing text that a language model wrote: nothing in it is trusted."""

from __future__ import annotations

import html
import unicodedata
from typing import Any

# Entities show as the character but start no markup, in HTML and in Markdown alike.
_ACTIVE = {ord(character): f"&#{ord(character)};" for character in "&<>\"'\\`*_{}[]()#+-.!|~$:@/=^"}

# Colours that stay apart under colour blindness (Okabe and Ito), with a different line for those who see none.
_MARKS = {
    True: ("claim-supported", "text-decoration:underline solid #0072B2 2px;text-underline-offset:3px"),
    False: ("claim-unsupported", "text-decoration:underline wavy #D55E00 2px;text-underline-offset:3px;font-weight:600"),
}


def escape_text(text: str) -> str:
    """`text` for display inside HTML or Markdown: markup shows as typed and does nothing.

    Control characters and those that reverse the direction of writing are removed; line ends and tabs stay.
    """
    kept = (c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    return "".join(kept).translate(_ACTIVE)


def highlight_claims(text: str, check: Any) -> str:
    """Safe HTML of a report with each claim marked.

    Parameters
    ----------
    text : str
        The report as written.
    check : FactCheck
        ``check_facts(text, findings)`` of the same text.

    Returns
    -------
    str
        One ``<div>``. Supported claims are ``<mark class="claim-supported">`` with the path of their finding as
        title; unsupported ones ``<mark class="claim-unsupported">`` with the reason, followed by a sign.
    """
    parts, position = [], 0
    for claim in _without_overlap(check.claims):
        css, style = _MARKS[claim.supported]
        title = html.escape(", ".join(claim.evidence) or claim.kind) if claim.supported else html.escape(
            f"{claim.kind}: {claim.reason}")
        sign = "" if claim.supported else '<sup aria-label="unsupported">&#10007;</sup>'
        parts.append(escape_text(text[position:claim.start]))
        parts.append(
            f'<mark class="{css}" style="background:none;color:inherit;{style}" title="{title}">'
            f"{escape_text(text[claim.start:claim.end])}</mark>{sign}"
        )
        position = claim.end
    parts.append(escape_text(text[position:]))
    return f'<div class="report tex2jax_ignore mathjax_ignore" style="white-space:pre-wrap">{"".join(parts)}</div>'


def _without_overlap(claims: tuple[Any, ...]) -> list[Any]:
    """Where claims share words an unsupported one is shown, for it is what the reader must see."""
    chosen: list[Any] = []
    for claim in sorted(claims, key=lambda claim: (claim.supported, claim.start)):
        if all(claim.end <= other.start or claim.start >= other.end for other in chosen) and claim.end > claim.start:
            chosen.append(claim)
    return sorted(chosen, key=lambda claim: claim.start)
