"""python -m data_prep COMMAND: makes data sets that liftjax reads."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from liftjax import xla_flags
from liftjax.errors import LiftjaxError
from liftjax.names import check_utf8, escape_on_terminals

# command: module with add_arguments(parser) and run_command(args), description, example arguments
COMMANDS = {
    "human36m": (
        "data_prep.human36m.build",
        "Read Human3.6M: the official archive or the layout of h36m-fetch or MMPose.",
        "--source Human3.6M --out data/human36m",
    ),
    "synthetic": (
        "data_prep.synthetic.build",
        "Render synthetic people in known poses, seen by known cameras.",
        "--out data/synthetic",
    ),
    "multicam": (
        "data_prep.multicam.build",
        "Triangulate a person filmed by several calibrated cameras.",
        "--source footage --out data/footage",
    ),
    "lifting": (
        "data_prep.lifting.build",
        "Read the poses of VideoPose3D's Human3.6M files, without pictures, for lifters.",
        "--source data_3d_h36m.npz --out data/human36m_poses",
    ),
    "panoptic": (
        "data_prep.panoptic.build",
        "Read HD recordings of the CMU Panoptic Studio: one person, five cameras.",
        "--source panoptic --out data/panoptic",
    ),
    "coco": (
        "data_prep.coco.build",
        "Read the people of COCO, who have 2D labels only.",
        "--source coco --out data/coco",
    ),
    "merge": (
        "data_prep.merge",
        "Join the parts that the shards of a build (--shard I/N) have written.",
        "--out data/human36m",
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
        check_utf8(args.out)  # ArrayRecord raises a TypeError for other names
        args.run(args)
    except (LiftjaxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped; run the same command again to continue.", file=sys.stderr)
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
            epilog=f"example:\n  python -m data_prep {name} {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in chosen:
            module = importlib.import_module(module_name)
            module.add_arguments(command)
            command.set_defaults(run=module.run_command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
