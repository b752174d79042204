"""How far can the fact checker be trusted? Errors planted into reports of varied wording, and alarms on reports without any.

    python benchmarks/fact_checker.py                        # phrasings it was not adapted to
    python benchmarks/fact_checker.py --adapted              # those it was adapted to as well
    python benchmarks/fact_checker.py --phrasings independent  # another set by name
    python benchmarks/fact_checker.py --writers template smollm2   # do their reports follow changed findings?

Prints rates with 95 % Wilson intervals over reports; with --show each missed error and each false alarm.
"""

from __future__ import annotations

import argparse
import tempfile

from xai.findings import Findings
from xai.planted import ADAPTED_TO, HELD_OUT, Wording, counterfactuals, run_benchmark
from xai.reports import RawStore, write_report

PHRASINGS = {wording.name: wording for wording in (*ADAPTED_TO, HELD_OUT)}


def show(wording: Wording, options: argparse.Namespace) -> None:
    """Print both tables of one set of phrasings."""
    outcome = run_benchmark(wording, per_kind=options.per_kind, clean=options.clean, seed=options.seed)
    print(f"phrasings: {wording.name}")
    print(outcome.kinds.drop(columns="what").round(3).to_string(index=False))
    print(outcome.clean.round(4).to_string(index=False), flush=True)
    if options.show:
        for planted in outcome.missed:
            print(f"missed  {planted.kind}: {planted.sentence}")
        for sentence, claim in outcome.false:
            print(f"alarm   {claim.kind} {claim.text!r} ({claim.reason}): {sentence}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--per-kind", type=int, default=25, help="errors planted of each kind")
    parser.add_argument("--clean", type=int, default=300, help="reports without an error")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--adapted", action="store_true", help="run the phrasings that the checker was adapted to as well")
    parser.add_argument("--phrasings", choices=PHRASINGS, default=HELD_OUT.name, help="the set of phrasings to run (default: the one held out, %(default)s)")
    parser.add_argument("--show", action="store_true", help="print each missed error and each false alarm")
    parser.add_argument("--writers", nargs="+", default=[], choices=["template", "smollm2"], help="change findings under these writers instead")
    parser.add_argument("--findings", type=int, default=5, help="findings for each change")
    options = parser.parse_args()
    if options.writers:
        for writer in options.writers:
            with tempfile.TemporaryDirectory() as folder:

                def write(findings: Findings, writer=writer, store=RawStore(folder)) -> str:
                    return write_report(findings, writer, store=store).text

                print(f"writer: {writer}")
                print(counterfactuals(write, count=options.findings, seed=options.seed).to_string(index=False), flush=True)
        return
    for wording in (*(ADAPTED_TO if options.adapted else ()), PHRASINGS[options.phrasings]):
        show(wording, options)


if __name__ == "__main__":
    main()
