"""python -m data_prep COMMAND: makes data sets that liftjax reads."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from liftjax.errors import LiftjaxError

# command: module with add_arguments(parser) and run(args), description, example
COMMANDS = {
    "synthetic": (
        "data_prep.synthetic.build",
        "Make people: rendered figures in known poses, seen by known cameras.",
        "python -m data_prep synthetic --out data/synthetic",
    ),
    "multicam": (
        "data_prep.multicam.build",
        "Triangulate a person filmed by several calibrated cameras.",
        "python -m data_prep multicam --demo-recording --out data/multicam",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status (2: the user's input was wrong)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = _parser(argv[:1]).parse_args(argv)
    try:
        args.run(args)
    except LiftjaxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped; no data set was changed.", file=sys.stderr)
        return 130
    return 0


def _parser(chosen: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the chosen command's module is imported."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep", description="Make data sets that liftjax reads."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (module_name, text, example) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in chosen:
            module = importlib.import_module(module_name)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
