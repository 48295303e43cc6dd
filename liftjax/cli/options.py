"""What several commands share."""

import argparse
import textwrap
from collections.abc import Sequence

from liftjax.errors import LiftjaxError


def command(commands, name: str, run, text: str, example: str) -> argparse.ArgumentParser:
    """Adds a command; returns the parser of its options.

    Args:
      commands: the subparsers of the command line.
      name: name of the command.
      run: called with the parsed arguments.
      text: what the command does; its first sentence is for the list of all commands.
      example: a command line.
    """
    parser = commands.add_parser(
        name,
        help=text.partition(". ")[0].rstrip("."),
        description=textwrap.fill(text, 78),
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def names(given: Sequence[str]) -> list[str]:
    """Splits values that have commas between them."""
    return [name for text in given for name in text.split(",") if name]


def add_trained_run(parser: argparse.ArgumentParser, network: str) -> None:
    """The options that name a finished run; `recipe_of_run` reads its recipe."""
    # fmt: off
    parser.add_argument("--config", metavar="RECIPE",
        help="name of a recipe, or a file; default: the recipe of the run")
    parser.add_argument("--workdir", required=True, metavar="RUN",
        help=f"run directory of the {network}, or with --config a name that `weights` lists")
    # fmt: on
    add_offline(parser)


def recipe_of_run(args: argparse.Namespace):
    """The recipe that --config names, or that of the run, with the user's changes.

    Published weights that it names are fetched. Of those in `args.workdir` the run directory is
    put there.

    Raises:
      LiftjaxError: a recipe is missing or wrong, or weights cannot be had.
    """
    from liftjax.recipes import load_recipe
    from liftjax.weights.published import PUBLISHED
    from liftjax.weights.using import resolve, resolve_lifters

    if args.workdir in PUBLISHED and not args.config:
        raise LiftjaxError(f"{args.workdir} has no recipe; add --config RECIPE.")
    recipe = load_recipe(args.config or f"{args.workdir}/config.json", args.overrides)
    resolve_lifters(recipe, args.offline)
    args.workdir = resolve(args.workdir, "detector", "lifter", offline=args.offline)
    return recipe


def add_offline(parser) -> None:
    # fmt: off
    parser.add_argument("--offline", action="store_true",
        help="fetch nothing; use published weights only if they are on this machine")
    # fmt: on


def add_beta(parser) -> None:
    # fmt: off
    parser.add_argument("--beta", type=float,
        help="sharpness of the soft-argmax; default: as in training")
    # fmt: on


def add_hosts(parser: argparse.ArgumentParser) -> None:
    """The options of one process among several."""
    group = parser.add_argument_group(
        "several hosts", "not needed on TPU slices, under SLURM and under Open MPI"
    )
    # fmt: off
    group.add_argument("--coordinator", metavar="HOST:PORT",
        help="address of process 0, with any free port")
    group.add_argument("--num-processes", type=int, metavar="N", help="number of processes")
    group.add_argument("--process-id", type=int, metavar="I", help="number of this process, from 0")
    group.add_argument("--start-timeout", type=int, default=300, metavar="S",
        help="seconds to wait for the other processes; default: %(default)s")
    # fmt: on


def add_network(parser: argparse.ArgumentParser, model: str) -> None:
    """The options that choose a network; `model` says when --model may be left out."""
    # fmt: off
    parser.add_argument("--model", metavar="NAME",
        help=f"network, a name that `models` lists; {model}; --model.KEY=VALUE sets a keyword")
    parser.add_argument("--skeleton", metavar="NAME",
        help="joint set to convert a detector to, or that of a lifter's poses")
    parser.add_argument("--num-joints", type=int, metavar="N",
        help="number of joints, if the set has no name")
    # fmt: on
