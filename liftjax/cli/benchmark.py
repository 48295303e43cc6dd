"""The command benchmark."""

import argparse
from collections.abc import Sequence

from liftjax import xla_flags
from liftjax.cli.options import command
from liftjax.errors import LiftjaxError


def add_benchmark(commands) -> None:
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
    parser = command(commands, "benchmark", run, text, example)
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
