"""Commands on networks and their weights: models, import-weights, export, export-2d."""

from liftjax.cli.options import add_network, command, names


def add_models(commands) -> None:
    def run(args) -> None:
        from liftjax import models

        models.run()

    text = "The table of all networks: sizes, joint sets, outputs, papers, licences."
    command(commands, "models", run, text, "python -m liftjax models")


def add_import(commands) -> None:
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
            entry=args.entry,
            overrides=args.keywords,
        )

    text = "Make a run directory of a PyTorch checkpoint, whoever wrote it; nothing in it is run."
    example = "python -m liftjax import-weights dw-ll_ucoco_384.pth --out runs/dwpose"
    parser = command(commands, "import-weights", run, text, f"{example} --skeleton human36m")
    parser.add_argument("checkpoint", help=".pth, .pt, .bin, .tar or .safetensors")
    parser.add_argument("--out", required=True, help="run directory to write")
    add_network(parser, "default: told by the shapes in the file")
    parser.add_argument("--source-skeleton", help="joint set of the file, if it tells none or lies")
    parser.add_argument(
        "--entry",
        help="dictionary of the file, or beginning of names, that holds the network, of several",
    )
    parser.add_argument("--stats", help="SimpleBaseline's mean and deviation: file or data set")
    parser.add_argument("--stats-unit", default="m", choices=("m", "cm", "mm"))


def add_export(commands) -> None:
    def run(args) -> None:
        from liftjax.interchange import exporting

        exporting.export_network(
            args.out,
            format=args.format,
            model=args.model,
            checkpoint=args.checkpoint,
            skeleton=args.skeleton,
            num_joints=args.num_joints,
            overrides=args.keywords,
            options=exporting.ProgramOptions(
                head=args.head,
                lifters=names(args.lifter),
                beta=args.beta,
                weights=args.weights,
                opset=args.opset,
            ),
        )

    text = (
        "Write a network for other programs: its weights by upstream's names and layout (orbax, "
        "safetensors, torch), or the whole of it as a program (stablehlo, onnx). What is written "
        "is read back and compared."
    )
    example = "python -m liftjax export --checkpoint runs/multi --format torch --out hrnet.pth"
    more = "python -m liftjax export --checkpoint runs/multi --lifter runs/lifters/mixste"
    more = f"{example}\n  {more} \\\n      --format onnx --out image_to_3d.onnx"
    parser = command(commands, "export", run, text, more)
    parser.add_argument("--checkpoint", help="run directory or one step; default: fresh weights")
    parser.add_argument(
        "--format", required=True, choices=("orbax", "safetensors", "torch", "stablehlo", "onnx")
    )
    parser.add_argument("--out", required=True, help="file to write; for orbax a directory")
    add_network(parser, "needed without a checkpoint")
    group = parser.add_argument_group("stablehlo and onnx")
    group.add_argument(
        "--head", choices=("keypoints", "maps", "poses", "rtmlib"),
        help="what the program gives: keypoints of a crop (default of a detector), the network's "
        "own maps, 3D poses (default of a lifter and with --lifter), or rtmlib's SimCC",
    )  # fmt: skip
    group.add_argument(
        "--lifter", nargs="+", default=(), metavar="RUN", help="run directories, behind a detector"
    )
    group.add_argument("--beta", type=float, help="of soft-argmax; default: as trained")
    group.add_argument(
        "--weights", choices=("inside", "beside"), help="of stablehlo; default: inside"
    )
    group.add_argument("--opset", type=int, help="of onnx; default: 18")


def add_export_2d(commands) -> None:
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
    parser = command(commands, "export-2d", run, text, f"{example} --out data_2d_h36m_multi.npz")
    parser.add_argument("--config", help="recipe: a name or a file; default: the run's own")
    parser.add_argument("--workdir", required=True, help="run directory of the detector")
    parser.add_argument("--data", help="data set; default: the recipe's")
    parser.add_argument("--split", nargs="+", default=(), help="default: all of the data set")
    parser.add_argument("--out", required=True, help="file to write, data_2d_h36m_NAME.npz")
    parser.add_argument(
        "--poses", metavar="FILE", help="data_3d_h36m.npz: write as many rows as it has frames"
    )
