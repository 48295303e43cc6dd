"""Commands that train and measure: demo, train, evaluate, tables."""

from liftjax.cli.options import add_hosts, add_offline, add_trained_run, command, recipe_of_run


def add_demo(commands) -> None:
    def run(args) -> None:
        from liftjax.experiments import demo

        demo.run_demo(
            args.workdir, data=args.data, scale=args.scale, seed=args.seed, steps=args.steps
        )

    text = (
        "Run the whole method on a small data set: train lifters and a detector, then compare "
        "training without lifters (FT-2D), through one lifter and through several."
    )
    parser = command(commands, "demo", run, text, "python -m liftjax demo --seed 1")
    # fmt: off
    parser.add_argument("--workdir", default="runs/demo", metavar="DIR",
        help="directory for its runs and its report; default: %(default)s")
    parser.add_argument("--data", default="synthetic", choices=("synthetic", "multicam"),
        help="generated people, or a real recording, whose networks start from those of the "
             "generated people; default: %(default)s")
    parser.add_argument("--scale", default="default", choices=("tiny", "default", "large"),
        help="size of the data set and length of the training; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    parser.add_argument("--steps", type=int, metavar="N",
        help="guided training steps; default: set by --scale")
    # fmt: on


def add_train(commands) -> None:
    def run(args) -> None:
        from liftjax.recipes import load_recipe
        from liftjax.training.run import train
        from liftjax.weights.using import resolve_recipe

        recipe = load_recipe(args.config, args.overrides)
        resolve_recipe(recipe, args.offline)
        train(recipe, args.workdir, args.accept_changes)

    text = (
        "Train a lifter or a detector, as a recipe describes. The same command resumes a run that "
        "was interrupted. --config.KEY=VALUE changes a setting of the recipe; "
        "configs/common.py lists them all."
    )
    example = "python -m liftjax train --config ft2d --workdir runs/ft2d --config.seed=1"
    parser = command(commands, "train", run, text, example)
    # fmt: off
    parser.add_argument("--config", required=True, metavar="RECIPE",
        help="ft2d, single_model, multi_model, lifter, coco_h36m, distill_student, distill_head, "
             "or a Python file")
    parser.add_argument("--workdir", required=True, metavar="RUN",
        help="directory for checkpoints and logs, the same for all hosts")
    parser.add_argument("--accept-changes", action="store_true",
        help="resume even if the data, a frozen lifter or a teacher has changed since the start")
    # fmt: on
    add_offline(parser)
    add_hosts(parser)


def add_evaluate(commands) -> None:
    def run(args) -> None:
        from liftjax import evaluation
        from liftjax.weights.published import PUBLISHED

        ours = args.workdir not in PUBLISHED  # others share the folder of published weights
        evaluation.evaluate_run(recipe_of_run(args), args.workdir, args.step, write=ours)

    text = (
        "Measure the errors of a trained detector (MPJPE through lifters, PCK@0.2, PDJ@0.2) or "
        "lifter, for each action. --config.KEY=VALUE changes a setting of the recipe; "
        "configs/common.py lists them all."
    )
    example = "python -m liftjax evaluate --workdir runs/multi --config.data.eval_split=test"
    parser = command(commands, "evaluate", run, text, example)
    add_trained_run(parser, "detector or lifter")
    # fmt: off
    parser.add_argument("--step", default="last",
        help="checkpoint: a step's number, last, or best (by validation); default: %(default)s")
    # fmt: on
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
        "Reproduce the tables and figures of the paper's supplement. The command plans the runs "
        "that they need, does those that are missing, and writes a report with the paper's numbers "
        "beside ours. The same command goes on after an interruption."
    )
    example = "python -m liftjax tables 2 6 --data human36m=data/human36m --scale paper --dry-run"
    parser = command(commands, "tables", run, text, example)
    # fmt: off
    parser.add_argument("table", nargs="*", default=["all"],
        help="1 to 8, relu, voting, gt, ablations, video, or all, which leaves out ablations and "
             "video; default: all")
    parser.add_argument("--data", nargs="+", default=["synthetic"], metavar="NAME[=DIR]",
        help="data sets and their directories: human36m, panoptic, synthetic, multicam; a "
             "synthetic one without a directory is made; default: synthetic")
    parser.add_argument("--scale", default="small", choices=("paper", "small", "tiny"),
        help="size of the networks and length of the training; default: %(default)s")
    parser.add_argument("--workdir", default="runs/tables", metavar="DIR",
        help="directory for the runs and the report; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="N",
        help="first seed of the training runs; default: %(default)s")
    parser.add_argument("--seeds", type=int, default=1, metavar="N",
        help="number of seeds; with more than one there are confidence intervals; default: "
             "%(default)s")
    parser.add_argument("--given", nargs="+", default=(), metavar="NAME=RUN",
        help="runs to use instead of training them: first detectors (hrnet, rtmpose, dwpose) and "
             "lifters")
    parser.add_argument("--dry-run", action="store_true",
        help="only print the plan and how long it takes")
    # fmt: on
