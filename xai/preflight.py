"""Before anything expensive: resolve the profile of a study and check its data.

    python -m xai.preflight --profile profiles/quick.yaml --study runs/quick
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from xai.data import check_source
from xai.gpu import check_gpu
from xai.paths import Study, StudyError
from xai.profiles import Profile, load_profile, save_profile


def main(arguments: list[str] | None = None) -> int:
    """Write ``<study>/profile.yaml`` if all is well; else print one sentence and return 2."""
    parser = argparse.ArgumentParser(prog="python -m xai.preflight", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", type=Path, required=True, help="a file of profiles/, or your own")
    parser.add_argument("--study", type=Path, required=True, help="folder of the study, such as runs/quick")
    parser.add_argument("--source", default=None, help="phantom, figshare, brisc or folder; overrides the profile")
    parser.add_argument("--root", default=None, help="folder of the slices; overrides the profile")
    parser.add_argument("--gpu", default="", metavar="N", help="how many chapters may use the GPU at a time: checks that JAX finds one")
    options = parser.parse_args(arguments)
    try:
        if options.gpu:
            check_gpu(options.gpu)
        profile = load_profile(options.profile, source=options.source or ("folder" if options.root else None), root=options.root or None)
        check_source(profile)
        _check_weights(profile)
        save_profile(profile, Study(options.study).profile)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {options.study} cannot be written ({error.strerror}); choose another STUDY folder.", file=sys.stderr)
        return 2
    return 0


def _check_weights(profile: Profile) -> None:
    for key in ("encoder_weights", "start_from"):
        file = getattr(profile.training, key)
        if file not in (None, "imagenet") and not Path(file).is_file():
            raise StudyError(f"`training.{key}` is {file}, which is no file; give the path of a weights file, as seen from {Path.cwd()}, or null.")


if __name__ == "__main__":
    raise SystemExit(main())
