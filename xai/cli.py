"""The command `xai`: one's own slices from the shell."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import xai
from xai.paths import METHODS, PLANES, StudyError, write_text
from xai.profiles import NINE, WriterName

ALL_RIGHT, SOME_FAILED, NOTHING_DONE, INTERRUPTED = 0, 1, 2, 130
DESCRIPTION = """\
Explain slices of your own with a trained network of a study: class with calibrated
probability, three heatmaps, mask, place in the brain, findings and report, on one page
that needs no other file.

What does not look like a slice with a tumour (no head, unlike the slices learned, no
tumour found) is said to be that, and no report is written. Research and teaching
software: not for diagnosis or treatment."""
EPILOG = """\
examples:
  xai explain scan.png --study runs/quick
  xai explain head.nii.gz --study runs/quick --slice 12,15
  xai explain series/ more/*.dcm --study runs/quick --convention radiological
  xai explain scan.png --architecture vgg16 --method gradcam --scorecam-channels 0
  xai explain scan.png --study runs/quick --json-only

exit status: 0 all right; 1 some inputs failed, the others are done; 2 wrong use, or
nothing could be done."""


def make_parser() -> argparse.ArgumentParser:
    """The arguments of `xai`."""
    width = lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=88, max_help_position=26)  # noqa: E731
    parser = argparse.ArgumentParser(prog="xai", description="From brain-tumour MRI slices to explained, placed and reported findings.")
    parser.add_argument("--version", action="version", version=f"xai {xai.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    explain = commands.add_parser("explain", help="explain slices of your own", description=DESCRIPTION, epilog=EPILOG, formatter_class=width)
    explain.add_argument("paths", nargs="+", metavar="PATH", help="PNG, JPEG, TIFF, NIfTI or DICOM files, or folders of them")
    explain.add_argument("--study", type=Path, default=Path("runs/quick"), help="folder of a study that ran (default: %(default)s)")
    explain.add_argument("--out", type=Path, default=Path("explained"), help="folder for the results (default: %(default)s)")
    explain.add_argument("--overwrite", action="store_true", help="make anew what is already there")
    explain.add_argument("--slice", metavar="N", dest="slices", help="of a volume: a number from 0, several with commas, or all "
                         "(default: the slice with the largest predicted tumour)")  # fmt: skip
    explain.add_argument("--plane", choices=PLANES, help="what a picture shows, or along which a NIfTI volume is cut (default: found)")
    explain.add_argument("--convention", choices=("radiological", "neurological", "unknown"), help="which side of a picture is the patient's left: "
                         "the right one (radiological), the left one (neurological); default: as a NIfTI or DICOM header says, else unknown")  # fmt: skip
    explain.add_argument("--architecture", choices=NINE, metavar="NAME", help="network (default: the best on validation); " + ", ".join(NINE))
    explain.add_argument("--method", choices=METHODS, help="heatmap whose mask is placed and reported (default: the best on validation)")
    explain.add_argument("--scorecam-channels", type=_count, metavar="N", help="channels that Score-CAM weighs; 0: all, as published (default: as the study)")
    explain.add_argument("--writer", choices=(*WriterName.__args__, "none"), default="template", help="who writes the report (default: %(default)s)")
    explain.add_argument("--anyway", action="store_true", help="explain and report also what does not look like a slice with a tumour")
    explain.add_argument("--json-only", action="store_true", help="print one JSON object for each slice and write no files")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = make_parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        return _explain(options)
    except StudyError as error:
        _complain(str(error))
    except OSError as error:
        _complain(f"{error.filename or options.out} cannot be used ({error.strerror or type(error).__name__}); choose another place with --out.")
    except KeyboardInterrupt:
        _complain("interrupted; what was finished is kept, and the same command goes on with the rest.")
        return INTERRUPTED
    return NOTHING_DONE


def _explain(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        return _explain_all(options, Path(scratch) if options.json_only else options.out / "raw")


def _explain_all(options: argparse.Namespace, store: Path) -> int:
    from xai.inputs import gather, safe_name

    files, passed = gather(options.paths)
    from tqdm import tqdm

    from xai.explain import Explainer
    from xai.pages import Entry

    explainer = Explainer(
        options.study, architecture=options.architecture, method=options.method, scorecam_channels=options.scorecam_channels,
        writer=None if options.writer == "none" else options.writer, anyway=options.anyway, store=store,
    )  # fmt: skip
    if passed:
        print(f"passed over {len(passed)} file(s) that no ending of a slice has, such as {passed[0].name}", file=sys.stderr)
    names = _different([safe_name(path) for path in files])
    failures: list[Entry] = []
    done = 0
    with tqdm(total=len(files), desc="explaining", unit="file", disable=None) as bar:
        for path, name in zip(files, names):
            try:
                done += _explain_one(path, name, explainer, options, bar)
            except (StudyError, OSError, MemoryError) as error:
                sentence = str(error) if isinstance(error, StudyError) else f"{path} could not be explained ({type(error).__name__}: {error})."
                failures.append(Entry(path.name, sentence, failed=True))
                bar.write(f"error: {sentence}", file=sys.stderr)
            except Exception as error:  # a fault of this program: the other files must not suffer from it
                sentence = f"{path} could not be explained because of a fault in the program ({type(error).__name__}: {' '.join(str(error).split())[:200]})."
                failures.append(Entry(path.name, sentence, failed=True))
                bar.write(f"error: {sentence}", file=sys.stderr)
            bar.update()
    if not options.json_only:
        _write_index(options.out, failures)
    return ALL_RIGHT if not failures else SOME_FAILED if done else NOTHING_DONE


def _explain_one(path: Path, name: str, explainer, options: argparse.Namespace, bar) -> int:
    """Explain the slices of one file; how many there are now, made or kept."""
    from xai.inputs import read_scan
    from xai.pages import read_record, record, save_explanation, summary

    scan = read_scan(path, plane=options.plane)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    numbers = explainer.slices(scan, options.slices)
    for number in numbers:
        own = name + (f"-slice{number:03d}" if len(scan) > 1 else "")
        mark = hashlib.sha256(repr((digest, number, options.plane, options.convention, explainer.mark)).encode()).hexdigest()
        kept = None if options.overwrite or options.json_only else read_record(options.out / own)
        if kept is not None and kept.get("mark") != mark:
            raise StudyError(
                f"{options.out / own} holds results of another file or of other options; give --overwrite to replace them, or another --out."
            )
        if kept is not None:
            bar.write(f"{own}: {kept['summary']}  (kept) {options.out / own / 'index.html'}", file=sys.stdout)
            continue
        item = explainer.explain(scan, number, convention=options.convention, name=own)
        if options.json_only:
            told = {key: value for key, value in record(item).items() if key != "thumbnail"}
            findings = item.findings and item.findings.model_dump(mode="json")
            bar.write(json.dumps(told | {"findings": findings, "report": item.report and item.report.text}), file=sys.stdout)
            continue
        page = save_explanation(item, options.out, mark=mark)
        bar.write(f"{own}: {summary(item)}  {page}", file=sys.stdout)
        if item.report is None and item.report_note.startswith("Not run"):
            raise StudyError(f"{path} was explained, but its report was not written: {item.report_note.removeprefix('Not run: ').rstrip('.')}.")
    return len(numbers)


def _write_index(out: Path, failures: list) -> None:
    """An index of all results in the folder, where there are several, and of what failed now."""
    from xai.pages import Entry, index_page, read_record

    found = [Entry(path.name, "") for path in sorted(out.iterdir()) if read_record(path) is not None] if out.is_dir() else []
    if found and len(found) + len(failures) > 1:
        write_text(out / "index.html", index_page([*found, *failures], out))
        print(f"index: {out / 'index.html'}")


def _different(names: list[str]) -> list[str]:
    """The same names, with a number behind those that came before."""
    seen, result = Counter(), []
    for name in names:
        seen[name.lower()] += 1
        result.append(name if seen[name.lower()] == 1 else f"{name}-{seen[name.lower()]}")
    return result


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number, 0 or more, found {text!r}")
    return int(text)


def _complain(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
