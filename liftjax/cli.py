"""The command line: python -m liftjax COMMAND.

Each command imports what it needs when it runs, so that --help is immediate and XLA's flags are
set before jax starts.
"""

import argparse
import os
import shlex
import sys
import traceback
from collections.abc import Sequence

from liftjax import hosts, xla_flags
from liftjax.errors import LiftjaxError, Preempted

# Commands that compile large programs.
CACHING = ("demo", "train", "evaluate", "tables", "benchmark")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status.

    2: the user's input was wrong. 75: told to end, all is saved, the same command goes on.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    typed = shlex.join(["python", "-m", "liftjax", *argv])
    argv, overrides = _split(argv, "--config.")
    argv, keywords = _split(argv, "--model.")
    args = _parser().parse_args(argv)
    for option, given in (("config", overrides), ("model", keywords)):
        if given and not hasattr(args, option):
            print(f"error: {args.command} takes no --{option}.KEY=VALUE.", file=sys.stderr)
            return 2
    args.overrides, args.keywords, args.typed = overrides, keywords, typed
    if hasattr(args, "workdir"):  # the shell leaves the ~ of --workdir=~/runs alone
        args.workdir = os.path.expanduser(args.workdir)
    xla_flags.configure()
    if args.command in CACHING:
        xla_flags.cache_compilations()
    return hosts.leave(_run(args))


def _run(args: argparse.Namespace) -> int:
    """Runs the command of `args`; returns the exit status."""
    try:
        if hasattr(args, "coordinator"):
            hosts.start(args.coordinator, args.num_processes, args.process_id, args.start_timeout)
            hosts.announce()
        args.run(args)
    except (LiftjaxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Preempted as told:
        print(told, file=sys.stderr)
        return told.status
    except KeyboardInterrupt:
        print(
            "\nStopped; training goes on from its last checkpoint when run again.", file=sys.stderr
        )
        return 130
    except Exception:
        if not hosts.started():
            raise
        traceback.print_exc()
        print(hosts.AFTER_A_FAILURE, file=sys.stderr)
        return 1
    return 0


def _split(argv: list[str], prefix: str) -> tuple[list[str], list[str]]:
    """`argv` without the arguments that begin with `prefix`, and what follows it in those."""
    rest = [argument for argument in argv if not argument.startswith(prefix)]
    return rest, [a.removeprefix(prefix) for a in argv if a.startswith(prefix)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="liftjax", description="Train 2D pose detectors through frozen 3D lifters."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_tables(commands)
    _add_benchmark(commands)
    _add_models(commands)
    _add_import(commands)
    _add_export(commands)
    _add_export_2d(commands)
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
    parser.add_argument("--workdir", required=True, help="run directory, the same for all hosts")
    _add_hosts(parser)


def _add_evaluate(commands) -> None:
    def run(args) -> None:
        from liftjax import evaluation
        from liftjax.recipes import load_recipe

        recipe = load_recipe(args.config or f"{args.workdir}/config.json", args.overrides)
        evaluation.run(recipe, args.workdir, args.step)

    text = (
        "Errors of a detector (MPJPE through lifters, PCK@0.2, PDJ@0.2) or of a lifter, by action."
    )
    example = "python -m liftjax evaluate --workdir runs/multi --config.data.eval_split=test"
    parser = _command(commands, "evaluate", run, text, example)
    parser.add_argument("--config", help="recipe: a name or a file; default: the run's own")
    parser.add_argument("--workdir", required=True, help="run directory of the detector or lifter")
    parser.add_argument(
        "--step", default="last", help="checkpoint: last, best (by validation) or a number"
    )
    _add_hosts(parser)


def _add_tables(commands) -> None:
    def run(args) -> None:
        from liftjax.experiments.paper import command

        command.run(
            args.table,
            args.workdir,
            data=args.data,
            scale=args.scale,
            seeds=range(args.seed, args.seed + args.seeds),
            given=args.given,
            dry_run=args.dry_run,
            command=args.typed,
        )

    text = (
        "The tables and figures of the paper's supplement beside its numbers: plans the runs they "
        "need, does those that are missing, writes a report. Run again to go on."
    )
    example = "python -m liftjax tables 2 6 --data human36m=data/human36m --scale paper --dry-run"
    parser = _command(commands, "tables", run, text, example)
    parser.add_argument(
        "table",
        nargs="*",
        default=["all"],
        help="1 to 8, relu, voting, gt, all (of these; default), ablations",
    )
    parser.add_argument(
        "--data", nargs="+", default=["synthetic"], metavar="NAME[=DIR]",
        help="human36m, panoptic, synthetic, multicam; default: synthetic, which is made",
    )  # fmt: skip
    parser.add_argument("--scale", default="small", choices=("paper", "small", "tiny"))
    parser.add_argument("--workdir", default="runs/tables", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="the first seed of what is trained")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="so many, for intervals")
    parser.add_argument(
        "--given", nargs="+", default=(), metavar="NAME=RUN",
        help="first detectors (hrnet, rtmpose, dwpose) and lifters that need not be trained",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="print the plan and its time")


def _add_benchmark(commands) -> None:
    def run(args) -> None:
        if args.what == "step":
            _benchmark_steps(args)
            return
        detector, batch_size, precision = (
            _only(name, values, default)
            for name, values, default in (
                ("--detector", args.detector, "hrnet_w32"),
                ("--batch-size", args.batch_size, 32 if args.what == "data" else 64),
                ("--precision", args.precision, "float32"),
            )
        )
        if args.what == "data":
            from liftjax.benchmark import data

            more = {"data": args.data, "samples": args.samples, "steps": args.steps}
            data.run(detector, batch_size, args.repeats, args.out, **more)
        else:
            from liftjax.benchmark import cost

            cost.run(
                detector,
                batch_size,
                args.out,
                precision=precision,
                remat=args.remat,
                topology=args.topology,
                step_seconds=args.step_seconds,
            )

    text = (
        "Time the stages of training beside PyTorch (`step`), or the reading of data (`data`), or "
        "count what a step costs (`cost`)."
    )
    example = "python -m liftjax benchmark --detector hrnet_w32 --batch-size 4"
    parser = _command(commands, "benchmark", run, text, example)
    parser.add_argument("what", nargs="?", default="step", choices=("step", "data", "cost"))
    parser.add_argument("--detector", nargs="+", help="default: what suits the machine; hrnet_w32")
    parser.add_argument(
        "--batch-size", nargs="+", type=int,
        help="default: 4 on a CPU, else 64 256; `data` 32, `cost` 64",
    )  # fmt: skip
    parser.add_argument("--precision", nargs="+", help="float32, bfloat16")
    parser.add_argument("--repeats", type=int, default=10, help="turns; default: %(default)s")
    parser.add_argument("--out", help="write the results as JSON; DIR/: a file named by machine")
    step = parser.add_argument_group("step")
    step.add_argument(
        "--peer", nargs="+", help="PyTorch: tuned, released, none; default: tuned if installed"
    )
    step.add_argument("--lifters", nargs="+", type=int, default=(0, 1, 4), metavar="N")
    step.add_argument(
        "--map-batch-size", nargs="+", type=int, metavar="N", help="of soft-argmax alone; 0: not"
    )
    step.add_argument("--calls", type=int, help="in a turn; default: 1 on a CPU, else 10")
    step.add_argument("--image-size", nargs=2, type=int, metavar=("H", "W"), help="for trials")
    step.add_argument("--time-limit", type=float, metavar="S", help="begin nothing new after that")
    data = parser.add_argument_group("data")
    data.add_argument("--data", help="a data set made with --full-frames to read")
    data.add_argument("--samples", type=int, default=128, help="pictures to read")
    data.add_argument("--steps", type=int, default=40, help="training steps in a turn")
    cost = parser.add_argument_group("cost")
    cost.add_argument("--remat", action="store_true", help="with rematerialisation")
    cost.add_argument("--topology", help="absent TPUs to compile for, such as v5e:2x4")
    cost.add_argument("--step-seconds", type=float, help="for the pictures a second")


def _benchmark_steps(args: argparse.Namespace) -> None:
    if args.peer != ["none"]:
        xla_flags.share_gpu_memory()
    from liftjax.benchmark import run as benchmark

    options = benchmark.Options(
        detectors=args.detector,
        batch_sizes=args.batch_size,
        precisions=args.precision,
        peers=args.peer,
        lifters=args.lifters,
        map_batch_sizes=args.map_batch_size,
        repeats=args.repeats,
        calls=args.calls,
        time_limit=args.time_limit,
        image_size=args.image_size and tuple(args.image_size),
    )
    benchmark.run(options, args.out)


def _only(option: str, values: Sequence | None, default):
    """The one value of an option that may have several elsewhere."""
    if values and len(values) > 1:
        raise LiftjaxError(f"{option} takes one value here, not {len(values)}.")
    return values[0] if values else default


def _add_models(commands) -> None:
    def run(args) -> None:
        from liftjax import models

        models.run()

    text = "The table of all networks: sizes, joint sets, outputs, papers, licences."
    _command(commands, "models", run, text, "python -m liftjax models")


def _add_import(commands) -> None:
    def run(args) -> None:
        from liftjax.interchange import importing

        importing.run(
            args.checkpoint,
            args.out,
            model=args.model,
            skeleton=args.skeleton,
            source_skeleton=args.source_skeleton,
            num_joints=args.num_joints,
            stats=args.stats,
            stats_unit=args.stats_unit,
            overrides=args.keywords,
        )

    text = "Make a run directory of a PyTorch checkpoint, whoever wrote it; nothing in it is run."
    example = "python -m liftjax import-weights dw-ll_ucoco_384.pth --out runs/dwpose"
    parser = _command(commands, "import-weights", run, text, f"{example} --skeleton human36m")
    parser.add_argument("checkpoint", help=".pth, .pt, .bin, .tar or .safetensors")
    parser.add_argument("--out", required=True, help="run directory to write")
    _add_network(parser, "default: told by the shapes in the file")
    parser.add_argument("--source-skeleton", help="joint set of the file, if it tells none or lies")
    parser.add_argument("--stats", help="SimpleBaseline's mean and deviation: file or data set")
    parser.add_argument("--stats-unit", default="m", choices=("m", "cm", "mm"))


def _add_export(commands) -> None:
    def run(args) -> None:
        from liftjax.interchange import exporting

        exporting.run(
            args.out,
            format=args.format,
            model=args.model,
            checkpoint=args.checkpoint,
            skeleton=args.skeleton,
            num_joints=args.num_joints,
            overrides=args.keywords,
        )

    text = "Write a network's weights for other programs, by upstream's names and layout."
    example = "python -m liftjax export --checkpoint runs/multi --format torch --out hrnet.pth"
    parser = _command(commands, "export", run, text, example)
    parser.add_argument("--checkpoint", help="run directory or one step; default: fresh weights")
    parser.add_argument("--format", required=True, choices=("orbax", "safetensors", "torch"))
    parser.add_argument("--out", required=True, help="file to write; for orbax a directory")
    _add_network(parser, "needed without a checkpoint")


def _add_export_2d(commands) -> None:
    def run(args) -> None:
        from liftjax.experiments import export_2d
        from liftjax.recipes import load_recipe

        export_2d.run(
            load_recipe(args.config or f"{args.workdir}/config.json", args.overrides),
            args.workdir,
            args.out,
            data=args.data,
            splits=args.split,
            poses=args.poses,
        )

    text = "Write a detector's keypoints on Human3.6M as VideoPose3D's data_2d_*.npz."
    example = "python -m liftjax export-2d --workdir runs/multi --data data/human36m"
    parser = _command(commands, "export-2d", run, text, f"{example} --out data_2d_h36m_multi.npz")
    parser.add_argument("--config", help="recipe: a name or a file; default: the run's own")
    parser.add_argument("--workdir", required=True, help="run directory of the detector")
    parser.add_argument("--data", help="data set; default: the recipe's")
    parser.add_argument("--split", nargs="+", default=(), help="default: all of the data set")
    parser.add_argument("--out", required=True, help="file to write, data_2d_h36m_NAME.npz")
    parser.add_argument(
        "--poses", metavar="FILE", help="data_3d_h36m.npz: write as many rows as it has frames"
    )


def _add_hosts(parser: argparse.ArgumentParser) -> None:
    """The options of one process among several; without them the environment tells."""
    group = parser.add_argument_group("several hosts (found by themselves on TPU slices and SLURM)")
    group.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0, any free port")
    group.add_argument("--num-processes", type=int, metavar="N")
    group.add_argument("--process-id", type=int, metavar="I", help="of this one, from 0")
    group.add_argument(
        "--start-timeout", type=int, default=300, metavar="S", help="seconds; default: %(default)s"
    )


def _add_network(parser: argparse.ArgumentParser, model: str) -> None:
    """The options that name a network; --model.KEY=VALUE sets a keyword of it."""
    parser.add_argument("--model", help=f"network, see `models`; {model}")
    parser.add_argument("--skeleton", help="joint set to find or lift")
    parser.add_argument("--num-joints", type=int, help="of a joint set without a name")
