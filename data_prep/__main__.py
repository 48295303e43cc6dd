"""python -m data_prep COMMAND: makes data sets that liftjax reads."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from liftjax import xla_flags
from liftjax.errors import LiftjaxError
from liftjax.names import check_utf8, escape_on_terminals

# command: module with add_arguments(parser) and run(args), description, example
COMMANDS = {
    "human36m": (
        "data_prep.human36m.build",
        "Human3.6M from the official archive, from h36m-fetch or from MMPose.",
        "python -m data_prep human36m --source Human3.6M --out data/human36m",
    ),
    "synthetic": (
        "data_prep.synthetic.build",
        "Make people: rendered figures in known poses, seen by known cameras.",
        "python -m data_prep synthetic --out data/synthetic",
    ),
    "multicam": (
        "data_prep.multicam.build",
        "Triangulate a person filmed by several calibrated cameras.",
        "python -m data_prep multicam --source footage --out data/footage",
    ),
    "lifting": (
        "data_prep.lifting.build",
        "Take the poses of VideoPose3D's Human3.6M files, for lifters; no pictures.",
        "python -m data_prep lifting --source data_3d_h36m.npz --out data/human36m_poses",
    ),
    "panoptic": (
        "data_prep.panoptic.build",
        "Read the CMU Panoptic Studio's HD recordings: one person, five cameras.",
        "python -m data_prep panoptic --source panoptic --out data/panoptic",
    ),
    "coco": (
        "data_prep.coco.build",
        "Read COCO's people, with 2D labels alone.",
        "python -m data_prep coco --source coco --out data/coco",
    ),
    "merge": (
        "data_prep.merge",
        "Join what the shards of a build have written (--shard I/N) to one data set.",
        "python -m data_prep merge --out data/human36m",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status (2: the user's input was wrong)."""
    escape_on_terminals()
    argv = list(sys.argv[1:] if argv is None else argv)
    xla_flags.configure()
    xla_flags.cache_compilations()
    args = _parser(argv[:1]).parse_args(argv)
    try:
        check_utf8(args.out)  # ArrayRecord would raise a TypeError
        args.run(args)
    except (LiftjaxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped; run the same command again to go on.", file=sys.stderr)
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
