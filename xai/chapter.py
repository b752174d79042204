"""Run one chapter with papermill: ``python -m xai.chapter notebooks/04_thresholding.md out.ipynb -p study runs/quick``.

The same as piping `jupytext` into `papermill` by hand, with three things a graph of many chapters needs: kernels are
reached over files instead of TCP ports, which two kernels starting at once may both pick; a failed chapter ends in one
sentence; and the executed notebook appears only when the chapter is complete (what a failed one got to is kept beside it).
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import jupytext
import nbformat
import papermill
import yaml
from traitlets.config import Config

from xai.gpu import share
from xai.paths import atomic

STARTUP_SECONDS = 300  # a busy machine may take long to start a kernel


def run(source: Path, output: Path, parameters: dict) -> None:
    """Execute a MyST notebook with parameters and write it, outputs included, to `output`.

    Raises
    ------
    papermill.PapermillExecutionError
        If a cell fails; the notebook up to there is then ``<output>.failed.ipynb``.
    """
    failed = output.with_suffix(".failed.ipynb")
    failed.parent.mkdir(parents=True, exist_ok=True)
    failed.unlink(missing_ok=True)
    notebook = jupytext.read(source)
    with atomic(output.with_suffix(".source.ipynb")) as temporary:
        nbformat.write(notebook, temporary)
    try:
        # A folder of its own for each kernel's sockets: left alone, kernels started in one place would share them.
        with tempfile.TemporaryDirectory(prefix="xai-") as sockets:
            kernel = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
            papermill.execute_notebook(
                str(output.with_suffix(".source.ipynb")), str(failed), parameters, kernel_name="python3", progress_bar=False,
                start_timeout=STARTUP_SECONDS, config=kernel,
            )  # fmt: skip
    finally:
        output.with_suffix(".source.ipynb").unlink()
    failed.replace(output)


def main(arguments: list[str] | None = None) -> int:
    """Run one chapter; on failure print one sentence and return 1."""
    parser = argparse.ArgumentParser(prog="python -m xai.chapter", description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a notebook of notebooks/")
    parser.add_argument("output", type=Path, help="where the executed notebook goes (.ipynb)")
    parser.add_argument("--gpu", action="store_true", help="the chapter computes with networks: where `make book GPU=n` runs it, it gets a place on a GPU")
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", module="papermill")
    # A kernel that ends while its last message is read makes tornado log a traceback now and then; what failed is said here, in one sentence.
    logging.getLogger("tornado").setLevel(logging.CRITICAL)
    try:
        with share(options.gpu):
            run(options.source, options.output, {name: yaml.safe_load(value) for name, value in options.parameter})
    except papermill.PapermillExecutionError as error:
        print(f"error: {options.source.stem}, cell {error.cell_index}: {error.evalue} [{error.ename}]", file=sys.stderr)
        print(f"The chapter up to there, with the full traceback: {options.output.with_suffix('.failed.ipynb')}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
