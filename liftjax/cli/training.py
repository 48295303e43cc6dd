"""Commands that train and measure: demo, train, evaluate, tables."""

from liftjax.cli.options import add_hosts, command


def add_demo(commands) -> None:
    def run(args) -> None:
        from liftjax.experiments import demo

        demo.run_demo(
            args.workdir, data=args.data, scale=args.scale, seed=args.seed, steps=args.steps
        )

    text = "The whole method on a small data set: FT-2D against single- and multi-model guidance."
    parser = command(commands, "demo", run, text, "python -m liftjax demo --seed 1")
    parser.add_argument("--workdir", default="runs/demo", help="default: %(default)s")
    parser.add_argument("--data", default="synthetic", choices=("synthetic", "multicam"))
    parser.add_argument("--scale", default="default", choices=("tiny", "default", "large"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="guided steps; default: the scale's")


def add_train(commands) -> None:
    def run(args) -> None:
        from liftjax.recipes import load_recipe
        from liftjax.training import run as training

        training.run(load_recipe(args.config, args.overrides), args.workdir, args.accept_changes)

    text = "Train a lifter or a detector; the recipe says which. Run again to resume."
    example = "python -m liftjax train --config multi_model --workdir runs/multi --config.seed=1"
    parser = command(commands, "train", run, text, example)
    parser.add_argument("--config", required=True, help="recipe: a name, or a Python file")
    parser.add_argument("--workdir", required=True, help="run directory, the same for all hosts")
    parser.add_argument(
        "--accept-changes", action="store_true",
        help="resume though the data, or a network that guides or teaches, has changed since",
    )  # fmt: skip
    add_hosts(parser)


def add_evaluate(commands) -> None:
    def run(args) -> None:
        from liftjax import evaluation
        from liftjax.recipes import load_recipe

        recipe = load_recipe(args.config or f"{args.workdir}/config.json", args.overrides)
        evaluation.run(recipe, args.workdir, args.step)

    text = (
        "Errors of a detector (MPJPE through lifters, PCK@0.2, PDJ@0.2) or of a lifter, by action."
    )
    example = "python -m liftjax evaluate --workdir runs/multi --config.data.eval_split=test"
    parser = command(commands, "evaluate", run, text, example)
    parser.add_argument("--config", help="recipe: a name or a file; default: the run's own")
    parser.add_argument("--workdir", required=True, help="run directory of the detector or lifter")
    parser.add_argument(
        "--step", default="last", help="checkpoint: last, best (by validation) or a number"
    )
    add_hosts(parser)


def add_tables(commands) -> None:
    def run(args) -> None:
        from liftjax.experiments.paper import command

        command.make_tables(
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
    parser = command(commands, "tables", run, text, example)
    parser.add_argument(
        "table",
        nargs="*",
        default=["all"],
        help="1 to 8, relu, voting, gt, all (of these; default), ablations, video",
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
