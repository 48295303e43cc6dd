"""The command benchmark."""

import argparse
import os
from collections.abc import Sequence

from liftjax import xla_flags
from liftjax.cli.options import command
from liftjax.errors import LiftjaxError


def add_benchmark(commands) -> None:
    def run(args) -> None:
        if args.what == "step":
            _time_steps(args)
            return
        detector = _only("--detector", args.detectors, "hrnet_w32")
        precision = _only("--precision", args.precisions, "float32")
        batch_size = _only("--batch-size", args.batch_sizes, 32 if args.what == "data" else 64)
        if args.what == "data":
            from liftjax.benchmark.data import time_data

            more = {"data": args.data, "samples": args.samples, "steps": args.steps}
            time_data(detector, batch_size, args.repeats, args.out, **more)
        else:
            if args.topology:  # nothing runs, and JAX looks for no device
                os.environ["JAX_PLATFORMS"] = "cpu"
            from liftjax.benchmark.cost import count_cost

            names = ("remat", "topology", "step_seconds", "compare", "frames", "window_frames")
            more = {name: getattr(args, name) for name in names}
            more["lifters"] = _only("--lifters", args.lifters, 4)
            more["image_size"] = args.image_size and tuple(args.image_size)
            count_cost(detector, batch_size, args.out, precision=precision, **more)

    text = (
        "Measure how fast liftjax is on this machine, or what it needs. `step` times the stages of "
        "a training step, beside PyTorch; `data` times the reading of pictures; `cost` counts the "
        "memory, arithmetic and network traffic of a step without running it."
    )
    example = "python -m liftjax benchmark --detector hrnet_w32 --batch-size 4"
    parser = command(commands, "benchmark", run, text, example)
    # fmt: off
    parser.add_argument("what", nargs="?", default="step", choices=("step", "data", "cost"),
        help="what to measure; default: %(default)s")
    parser.add_argument("--detector", nargs="+", dest="detectors", metavar="NAME",
        help="detectors; data and cost take one; default: a choice for this machine, or hrnet_w32")
    parser.add_argument("--batch-size", nargs="+", type=int, dest="batch_sizes", metavar="N",
        help="pictures in a batch; data and cost take one number; default: for step 4 on a CPU, "
             "64 and 256 elsewhere; for data 32; for cost 64 on each device")
    parser.add_argument("--precision", nargs="+", dest="precisions", metavar="NAME",
        help="precision of the detector: float32, bfloat16 or, for step, both; default: float32 "
             "on a CPU and for cost, both elsewhere")
    parser.add_argument("--repeats", type=int, default=10, metavar="N",
        help="times that each measurement is repeated; default: %(default)s")
    parser.add_argument("--out", metavar="FILE",
        help="write the results to this JSON file; for step, a directory DIR/ gets a file that is "
             "named after the machine")
    step = parser.add_argument_group("options of step")
    step.add_argument("--peer", nargs="+", dest="peers", metavar="NAME",
        help="PyTorch trainers to compare with: tuned, released or none; default: tuned if "
             "PyTorch is installed")
    step.add_argument("--lifters", nargs="+", type=int, metavar="N",
        help="training steps through so many lifters each; 0 is FT-2D; cost takes one number; "
             "default: 0 1 4, for cost 4")
    step.add_argument("--frames", type=int, default=1, metavar="N",
        help="frames that VideoPose3D and MixSTE see, such as 27; `benchmark step` times the "
             "largest guided step twice, with 1 frame and with N; default: %(default)s")
    step.add_argument("--map-batch-size", nargs="+", type=int, dest="map_batch_sizes", metavar="N",
        help="time soft-argmax alone on batches of so many maps; 0 leaves it out; default: 64 on "
             "a CPU, 64 and 1024 elsewhere")
    step.add_argument("--calls", type=int, metavar="N",
        help="calls in a repetition, queued before the device is waited for; default: 1 on a CPU, "
             "10 elsewhere")
    step.add_argument("--image-size", nargs=2, type=int, metavar=("H", "W"),
        help="size of the crops, for short trials and for cost; default: the detector's own")
    step.add_argument("--time-limit", type=float, metavar="S",
        help="begin nothing new after so many seconds")
    data = parser.add_argument_group("options of data")
    data.add_argument("--data", metavar="DIR",
        help="data set to read, made with --full-frames; default: generated pictures")
    data.add_argument("--samples", type=int, default=128, metavar="N",
        help="number of pictures to read; default: %(default)s")
    data.add_argument("--steps", type=int, default=40, metavar="N",
        help="training steps in a repetition; 0 leaves the training out; default: %(default)s")
    cost = parser.add_argument_group("options of cost")
    cost.add_argument("--remat", action="store_true", help="count the step with rematerialisation")
    cost.add_argument("--window-frames", type=int, default=1, metavar="N",
        help="with --frames: frames of each sample that run through the detector with a gradient; "
             "default: %(default)s")
    cost.add_argument("--topology", metavar="NAME",
        help="compile for devices that are not there, and predict the time of a step: v5e:2x4, "
             "v5p:2x2x1 or v6e:2x2 (needs the package libtpu), h100 or h200 (needs "
             "jax-cuda13-plugin, jax-cuda13-pjrt, nvidia-cuda-nvcc and nvidia-nvvm)")
    cost.add_argument("--compare", metavar="FILE",
        help="print the results of this file, written by --out, beside the new ones")
    cost.add_argument("--step-seconds", type=float, metavar="S",
        help="time of a step, to tell how many pictures a second the hosts must read")
    # fmt: on


def _time_steps(args: argparse.Namespace) -> None:
    if args.peers != ["none"]:
        xla_flags.share_gpu_memory()
    import dataclasses

    from liftjax.benchmark.step import StepOptions, time_steps

    args.image_size = args.image_size and tuple(args.image_size)
    args.lifters = args.lifters or StepOptions.lifters
    names = [field.name for field in dataclasses.fields(StepOptions)]
    time_steps(StepOptions(**{name: getattr(args, name) for name in names}), args.out)


def _only(option: str, values: Sequence | None, default):
    """The one value of an option that may have several elsewhere."""
    if values and len(values) > 1:
        raise LiftjaxError(f"{option} takes one value here, not {len(values)}.")
    return values[0] if values else default
