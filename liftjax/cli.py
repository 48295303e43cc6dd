"""The command line: python -m liftjax COMMAND.

Each command imports what it needs when it runs, so that --help is immediate and XLA's flags are
set before jax starts.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from liftjax import xla_flags
from liftjax.errors import LiftjaxError

PREFIX = "--config."


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status (2: the user's input was wrong)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    overrides = [a.removeprefix(PREFIX) for a in argv if a.startswith(PREFIX)]
    args = _parser().parse_args([a for a in argv if not a.startswith(PREFIX)])
    if overrides and not hasattr(args, "config"):
        print(f"error: {args.command} takes no {PREFIX}KEY=VALUE.", file=sys.stderr)
        return 2
    args.overrides = overrides
    if hasattr(args, "workdir"):  # the shell leaves the ~ of --workdir=~/runs alone
        args.workdir = os.path.expanduser(args.workdir)
    xla_flags.configure()
    try:
        args.run(args)
    except LiftjaxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\nStopped; training goes on from its last checkpoint when run again.", file=sys.stderr
        )
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="liftjax", description="Train 2D pose detectors through frozen 3D lifters."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_benchmark(commands)
    _add_models(commands)
    return parser


def _command(commands, name: str, run, text: str, example: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _add_demo(commands) -> None:
    def run(args) -> None:
        from liftjax.experiments import demo

        demo.run(args.workdir, data=args.data, scale=args.scale, seed=args.seed, steps=args.steps)

    text = "The whole method on a small data set: FT-2D against single- and multi-model guidance."
    parser = _command(commands, "demo", run, text, "python -m liftjax demo --seed 1")
    parser.add_argument("--workdir", default="runs/demo", help="default: %(default)s")
    parser.add_argument("--data", default="synthetic", choices=("synthetic", "multicam"))
    parser.add_argument("--scale", default="default", choices=("tiny", "default", "large"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="guided steps; default: the scale's")


def _add_train(commands) -> None:
    def run(args) -> None:
        from liftjax.recipes import load_recipe
        from liftjax.training import run as training

        training.run(load_recipe(args.config, args.overrides), args.workdir)

    text = "Train a lifter or a detector; the recipe says which. Run again to resume."
    example = "python -m liftjax train --config multi_model --workdir runs/multi --config.seed=1"
    parser = _command(commands, "train", run, text, example)
    parser.add_argument("--config", required=True, help="recipe: a name, or a Python file")
    parser.add_argument("--workdir", required=True, help="run directory")


def _add_evaluate(commands) -> None:
    def run(args) -> None:
        from liftjax import evaluation
        from liftjax.recipes import load_recipe

        recipe = args.config or f"{args.workdir}/config.json"
        evaluation.run(load_recipe(recipe, args.overrides), args.workdir)

    text = "MPJPE, P-MPJPE, PCK@0.2 and PDJ@0.2 of a trained detector through lifters."
    example = "python -m liftjax evaluate --workdir runs/multi --config.data.eval_split=test"
    parser = _command(commands, "evaluate", run, text, example)
    parser.add_argument("--config", help="recipe: a name or a file; default: the run's own")
    parser.add_argument("--workdir", required=True, help="run directory of the detector")


def _add_benchmark(commands) -> None:
    def run(args) -> None:
        from liftjax.benchmark import run as benchmark

        benchmark.run(args.detector, args.batch_size, args.repeats, args.out)

    text = "Time every stage of the guided training step."
    example = "python -m liftjax benchmark --detector hrnet_w32 --batch-size 4"
    parser = _command(commands, "benchmark", run, text, example)
    parser.add_argument("--detector", default="hrnet_w32", help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--out", help="write the results as JSON")


def _add_models(commands) -> None:
    def run(args) -> None:
        from liftjax import models

        models.run()

    text = "The table of all networks: sizes, joint sets, outputs, papers, licences."
    _command(commands, "models", run, text, "python -m liftjax models")
