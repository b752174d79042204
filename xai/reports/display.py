"""Showing text that a language model wrote: nothing in it is trusted."""

from __future__ import annotations

import html
import re
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


def highlight_claims(text: str, check: Any, *, anchor: str | None = None) -> str:
    """Safe HTML of a report with each claim marked.

    Parameters
    ----------
    text : str
        The report as written.
    check : FactCheck
        ``check_facts(text, findings)`` of the same text.
    anchor : str, optional
        The `anchor` of `supporting_findings` on the same page: each supported claim then links to the finding that supports it.

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
        words = escape_text(text[claim.start:claim.end])
        if anchor is not None and claim.evidence:
            words = f'<a href="#{_place(anchor, claim.evidence[0])}" style="color:inherit;text-decoration:inherit">{words}</a>'
        parts.append(f'<mark class="{css}" style="background:none;color:inherit;{style}" title="{title}">{words}</mark>{sign}')
        position = claim.end
    parts.append(escape_text(text[position:]))
    return f'<div class="report tex2jax_ignore mathjax_ignore" style="white-space:pre-wrap">{"".join(parts)}</div>'


def supporting_findings(check: Any, findings: Any, *, anchor: str) -> str:
    """A folded table of the findings that support claims of a report: path, value, and an id for links, which unfold it. Values are escaped.

    `anchor` must differ between the reports of a page.
    """
    content = findings.model_dump(mode="json")
    paths = dict.fromkeys(claim.evidence[0] for claim in _without_overlap(check.claims) if claim.evidence)
    rows = "".join(
        f'<tr id="{_place(anchor, path)}"><td>{html.escape(path)}</td><td>{escape_text(_shown(_value(content, path)))}</td></tr>' for path in sorted(paths)
    )
    table = f'<table class="table study"><thead><tr><th>Finding</th><th>Value</th></tr></thead><tbody>{rows}</tbody></table>'
    return f"<details><summary>Findings behind the claims</summary>{table}</details>"


def _place(anchor: str, path: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", f"{anchor}-{path}").strip("-").lower()


def _shown(value: Any) -> str:
    """Four digits are enough to read; the whole number stands in the JSON."""
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _value(content: Any, path: str) -> Any:
    """The value at a path such as ``anatomy.regions[0].name``."""
    for key in re.findall(r"[^.\[\]]+", path):
        content = content[int(key)] if isinstance(content, list) else content[key]
    return content


def _without_overlap(claims: tuple[Any, ...]) -> list[Any]:
    """Where claims share words an unsupported one is shown, for it is what the reader must see."""
    chosen: list[Any] = []
    for claim in sorted(claims, key=lambda claim: (claim.supported, claim.start)):
        if all(claim.end <= other.start or claim.start >= other.end for other in chosen) and claim.end > claim.start:
            chosen.append(claim)
    return sorted(chosen, key=lambda claim: claim.start)
