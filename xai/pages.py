"""What `xai explain` leaves behind: one folder for a slice with a page that needs nothing else, and an index of several."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Sequence

import numpy as np
from matplotlib import style
from PIL import Image

import xai
from xai.explain import Explanation
from xai.metrics.facts import check_facts
from xai.paths import atomic, write_text
from xai.plotting.base import STYLE, name_of
from xai.reports import highlight_claims
from xai.reports.phrases import class_name, region_name

WARNING = "Research and teaching software, not a medical device: not for diagnosis or treatment."
RECORD = "result.json"
THUMBNAIL = 96  # pixels
CSS = """
:root{color-scheme:light dark;--ink:#222;--paper:#fff;--soft:#f4f4f4;--line:#d5d5d5;--blue:#0072b2;--orange:#a84300;--green:#00704f}
@media(prefers-color-scheme:dark){:root{--ink:#e6e6e6;--paper:#16181b;--soft:#22262b;--line:#444;--blue:#6cb8ec;--orange:#ff9a57;--green:#4fcfa4}}
*{box-sizing:border-box}
body{font:1rem/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:52rem;margin:0 auto;padding:1rem;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25;margin:.6rem 0}h2{font-size:1.15rem;margin:1.8rem 0 .5rem}
a{color:var(--blue)}img{max-width:100%;height:auto;background:#fff;border-radius:4px}
.warning{border:2px solid var(--orange);color:var(--orange);border-radius:4px;padding:.4rem .8rem;font-weight:600;margin:0 0 1rem}
.verdict{border-left:6px solid var(--green);background:var(--soft);padding:.7rem 1rem;margin:1rem 0}
.verdict.doubt{border-color:var(--orange)}.verdict strong{display:block}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .7rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums;padding-right:1rem}
pre{background:var(--soft);padding:.8rem;overflow-x:auto;font-size:.8rem;white-space:pre-wrap}
.report{background:var(--soft);padding:.8rem 1rem}small,.small{font-size:.85rem}footer{border-top:1px solid var(--line);margin-top:2rem;padding-top:.6rem}
"""


@dataclass(frozen=True)
class Entry:
    """One line of an index: the name of the results, or of a file that failed, and what to say."""

    name: str
    sentence: str
    failed: bool = False


def save_explanation(item: Explanation, folder: Path, *, mark: str = "") -> Path:
    """Write ``<folder>/<name>/``: page, figure, arrays, findings, report, and last ``result.json``, which says that all is there.

    Parameters
    ----------
    mark : str
        Kept in the record, to know later whether these results are still those asked for.

    Returns
    -------
    Path
        Of the page.
    """
    target = folder / item.name
    (target / RECORD).unlink(missing_ok=True)
    figure, page = item.figure(), target / "index.html"
    picture = _png(item.image) if figure is None else _figure(figure)
    _write_bytes(target / "figure.png", picture)
    for name, content in (("findings.json", item.findings and item.findings.model_dump_json(indent=2) + "\n"),
                          ("report.txt", item.report and item.report.text + "\n")):  # fmt: skip
        if content:
            write_text(target / name, content)
        else:
            (target / name).unlink(missing_ok=True)
    with atomic(target / "arrays.npz") as temporary:
        np.savez_compressed(
            temporary, image=item.image, segmentation=item.segmentation.astype(np.float16),
            **{f"heatmap_{name}": array.astype(np.float16) for name, array in item.heatmaps.items()},
            **{f"mask_{name}": array.astype(np.uint8) for name, array in item.masks.items()},
        )  # fmt: skip
    write_text(page, explanation_page(item, picture))
    write_text(target / RECORD, json.dumps(record(item) | {"mark": mark}, indent=1) + "\n")
    return page


def record(item: Explanation) -> dict:
    """The result in short, as JSON knows it."""
    return {
        "name": item.name, "file": item.source.name, "slice": item.number, "verdict": item.verdict.kind, "sentence": item.verdict.sentence,
        "label": item.label if item.verdict.class_said else None, "probabilities": item.probabilities, "temperature": item.ordinary.temperature,
        "scores": item.scores, "limits": item.ordinary.limits, "network": item.architecture, "method": item.method, "agreement_dice": item.agreements,
        "notes": list(item.notes), "summary": summary(item), "thumbnail": _thumbnail(item.image), "xai_version": xai.__version__,
    }  # fmt: skip


def summary(item: Explanation) -> str:
    """One line on a slice."""
    if not item.verdict.class_said:
        return item.verdict.title
    return f"{class_name(item.label)}, {100 * item.probabilities[item.label]:.0f} %"


def explanation_page(item: Explanation, picture: bytes) -> str:
    """The self-contained HTML page of one slice; everything in it is escaped."""
    parts = [f"<h1>{escape(item.name)}</h1>", _verdict(item), _image(picture, _alternative(item))]
    if item.heatmaps:
        parts += [_caption(item), _probabilities(item), _masks(item), _place(item)]
    elif item.notes:
        parts.append(_notes(item))
    parts += [_report(item), _measures(item), _findings(item)]
    return _page(item.name, "\n".join(parts))


def index_page(entries: Sequence[Entry], folder: Path) -> str:
    """A page that leads to the results of several slices, and says which files failed."""
    rows = []
    for entry in entries:
        name = escape(entry.name)
        if entry.failed:
            rows.append(f"<tr><td></td><td>{name}</td><td>{escape(entry.sentence)}</td></tr>")
            continue
        told = read_record(folder / entry.name) or {}
        picture = f'<img src="data:image/png;base64,{escape(str(told.get("thumbnail", "")))}" width="{THUMBNAIL}" height="{THUMBNAIL}" alt="">'
        rows.append(f'<tr><td>{picture}</td><td><a href="{name}/index.html">{name}</a></td><td>{escape(str(told.get("summary", entry.sentence)))}</td></tr>')
    failed = sum(entry.failed for entry in entries)
    done = len(entries) - failed
    lead = f"{done} slice{'s' * (done != 1)} explained" + (f", {failed} file{'s' * (failed != 1)} not" if failed else "")
    table = '<div class="scroll"><table><thead><tr><th>Slice</th><th>Name</th><th>Result</th></tr></thead><tbody>' + "\n".join(rows) + "</tbody></table></div>"
    return _page("Explained slices", f"<h1>Explained slices</h1><p>{escape(lead)}.</p>{table}")


def read_record(target: Path) -> dict | None:
    """The record of finished results in a folder, or None."""
    try:
        content = json.loads((target / RECORD).read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else None
    except (OSError, ValueError):
        return None


def _page(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{CSS}</style>
</head>
<body>
<p class="warning">{escape(WARNING)}</p>
<main>
{body}
</main>
<footer class="small">Made by xai {escape(xai.__version__)}. {escape(WARNING)}</footer>
</body>
</html>
"""


def _verdict(item: Explanation) -> str:
    css = "verdict" if item.verdict.kind == "ordinary" else "verdict doubt"
    title = summary(item) if item.verdict.kind == "ordinary" else item.verdict.title
    return f'<div class="{css}"><strong>{escape(title[:1].upper() + title[1:])}</strong>{escape(item.verdict.sentence)}</div>'


def _image(picture: bytes, alternative: str) -> str:
    return f'<p><img src="data:image/png;base64,{base64.b64encode(picture).decode()}" alt="{escape(alternative)}"></p>'


def _alternative(item: Explanation) -> str:
    if not item.heatmaps:
        return "The picture as it was read."
    return f"The slice with two outlines, {len(item.heatmaps)} heatmaps, the probabilities of the classes, and the matching template slice."


def _caption(item: Explanation) -> str:
    return (
        f'<p class="small">Heatmaps explain the class {escape(class_name(item.label))}; each is stretched to 0-1 by itself. '
        f"Outlines are masks by the rules that validation slices chose.</p>{_notes(item)}"
    )


def _notes(item: Explanation) -> str:
    return f'<p class="small">How the file was read: {escape("; ".join(item.notes))}.</p>' if item.notes else ""


def _probabilities(item: Explanation) -> str:
    rows = sorted(item.probabilities.items(), key=lambda entry: -entry[1])
    table = _table(("Class", "Probability"), [(class_name(label), f"{100 * value:.1f} %") for label, value in rows], numbers={1})
    condition = "" if item.verdict.class_said else " They would hold if a tumour were there; the network knows no class without one."
    return f"<h2>Class</h2>{table}<p class='small'>{escape(item.ordinary.calibration_in_words() + condition)}</p>"


def _masks(item: Explanation) -> str:
    rows = [(name_of(method) + (" (chosen)" if method == item.method else ""), f"{100 * item.masks[method].mean():.1f} %", f"{value:.2f}")
            for method, value in item.agreements.items()]  # fmt: skip
    head = 100 * (item.segmentation > 0.5).mean()
    table = _table(("Heatmap", "Area of its mask", "Dice with the segmentation head"), rows, numbers={1, 2})
    return f"<h2>Where the network looked</h2>{table}<p class='small'>The segmentation head marks {head:.1f} % of the image.</p>"


def _place(item: Explanation) -> str:
    findings = item.findings
    anatomy = findings.anatomy
    if anatomy.centroid_mni_mm is None:
        return "<h2>Place in the brain</h2><p>Not localisable: " + escape(", ".join(item.located.flags) or "no match") + ".</p>"
    known = anatomy.hemisphere != "not determinable"
    x, y, z = anatomy.centroid_mni_mm
    sd = anatomy.centroid_sd_mm
    side = anatomy.hemisphere if known else "not determinable, because nothing says which side of the picture is the patient's left"
    if not known and item.convention is not None:
        side = "not determinable from a sagittal slice"
    lines = [
        ("Plane", findings.plane), ("Side", side),
        ("Centre of the mask, MNI152", f"x {x:.0f} ± {sd[0]:.0f}, y {y:.0f} ± {sd[1]:.0f}, z {z:.0f} ± {sd[2]:.0f} mm" + ("" if known else "; x is the distance from the midline")),
        ("Through the plane", f"± {anatomy.through_plane_sd_mm:.0f} mm (standard deviation over {len(item.located.found.candidates)} candidate places)"),
        ("Certainty of the regions", anatomy.certainty),
        ("Outside the atlas", f"{100 * anatomy.outside_atlas_probability:.0f} %"),
    ]  # fmt: skip
    regions = [(f"{region_name(r.name)}{'' if r.hemisphere in ('not determinable', 'midline') else ', ' + r.hemisphere}", f"{100 * r.probability:.0f} %", f"{r.overlap_percent:.0f} %")
               for r in anatomy.regions]  # fmt: skip
    shown = _table(("Harvard-Oxford region", "Probability", "Share of the mask"), regions, numbers={1, 2}) if regions else "<p>No region of the atlas lies under the mask.</p>"
    return f"<h2>Place in the brain</h2>{_table(('', ''), lines)}{shown}"


def _report(item: Explanation) -> str:
    if item.report is None:
        return f"<h2>Report</h2><p>{escape(item.report_note)}</p>"
    marked = highlight_claims(item.report.text, check_facts(item.report.text, item.findings))
    return (
        f"<h2>Report</h2><p class='small'>By {escape(item.report.writer)} ({escape(item.report.model)}). "
        f"Each claim is checked against the findings: plain underline supported, wavy underline not.</p>{marked}"
    )


def _measures(item: Explanation) -> str:
    rows = [(name, f"{item.scores[key]:.2f}", limit) for key, name, limit in item.ordinary.limits_in_words()]
    table = _table(("Is it a slice like those learned?", "This slice", "Ordinary"), rows, numbers={1})
    return f"<details><summary>How the verdict was reached</summary>{table}<p class='small'>{escape(item.ordinary.rates_in_words())}</p></details>"


def _findings(item: Explanation) -> str:
    if item.findings is None:
        return ""
    return f"<details><summary>Findings as JSON</summary><pre>{escape(item.findings.model_dump_json(indent=2))}</pre></details>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: set[int] = frozenset()) -> str:
    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}{' class=number' if place in numbers else ''}>{escape(text)}</{tag}>" for place, text in enumerate(row))

    head = f"<thead><tr>{cells(header, 'th')}</tr></thead>" if any(header) else ""
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def _figure(figure) -> bytes:
    buffer = BytesIO()
    with style.context(STYLE):
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": "matplotlib"})
    return buffer.getvalue()


def _png(image: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def _thumbnail(image: np.ndarray) -> str:
    small = np.asarray(Image.fromarray(image).resize((THUMBNAIL, THUMBNAIL)))
    return base64.b64encode(_png(small)).decode()


def _write_bytes(path: Path, content: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(content)
