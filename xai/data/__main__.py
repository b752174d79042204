"""Prepare the dataset of a study: ``python -m xai.data --study runs/quick``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from xai.data import prepare_source
from xai.paths import Study, StudyError
from xai.profiles import study_profile


def main(arguments: list[str] | None = None) -> int:
    """Write the arrays and the index; on bad input print one sentence and return 2, leaving nothing half-written."""
    parser = argparse.ArgumentParser(prog="python -m xai.data", description=__doc__)
    parser.add_argument("--study", type=Path, required=True, help="folder of the study, with its profile.yaml")
    options = parser.parse_args(arguments)
    study = Study(options.study)
    try:
        prepare_source(study, study_profile(study.profile))
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename or study.data} cannot be written ({error.strerror}); choose another STUDY folder.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
