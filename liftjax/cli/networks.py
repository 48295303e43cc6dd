"""Commands on networks and their weights: models, weights, import-weights, export, export-2d."""

from liftjax.cli.options import (
    add_beta,
    add_network,
    add_offline,
    add_trained_run,
    command,
    names,
    recipe_of_run,
)


def add_models(commands) -> None:
    def run(args) -> None:
        from liftjax import models

        models.print_models()

    text = "List all networks: sizes, joint sets, outputs, papers, licences."
    command(commands, "models", run, text, "python -m liftjax models")


def add_weights(commands) -> None:
    def run(args) -> None:
        from liftjax.weights import table

        if args.names:
            form = {"skeleton": args.skeleton, "image_size": args.image_size}
            table.fetch_all(args.names, **form, offline=args.offline)
        else:
            table.print_weights()

    text = (
        "List published weights, or fetch those named. train, evaluate, predict and export take "
        "these names in place of run directories, and fetch what they need."
    )
    parser = command(commands, "weights", run, text, "python -m liftjax weights rtmpose_m/halpe26")
    # fmt: off
    parser.add_argument("names", nargs="*", metavar="NAME",
        help="weights to fetch; without a name the list is printed")
    parser.add_argument("--skeleton", metavar="NAME",
        help="convert the detectors to this joint set; backbones need it")
    parser.add_argument("--image-size", nargs=2, type=int, metavar=("H", "W"),
        help="crops of a detector that is made of a backbone; default: the network's own")
    # fmt: on
    add_offline(parser)


def add_import(commands) -> None:
    def run(args) -> None:
        from liftjax.interchange import importing

        importing.import_weights(
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

    text = (
        "Make a run directory from a checkpoint of liftjax or of another PyTorch program. No code "
        "in the file is executed."
    )
    example = "python -m liftjax import-weights dw-ll_ucoco_384.pth --out runs/dwpose"
    parser = command(commands, "import-weights", run, text, f"{example} --skeleton human36m")
    parser.add_argument(
        "checkpoint",
        help=".pth, .pt, .bin, .tar, .safetensors or .onnx, or a .zip with one .onnx inside",
    )
    parser.add_argument("--out", required=True, metavar="RUN", help="run directory to write")
    add_network(parser, "default: recognised by the shapes in the file")
    # fmt: off
    parser.add_argument("--source-skeleton", metavar="NAME",
        help="joint set of the network in the file (of a lifter: of its 2D input); needed if the "
             "file does not tell")
    parser.add_argument("--entry", metavar="KEY",
        help="where the network is, if the file holds several: a key of its dictionary, or the "
             "beginning of the weights' names")
    parser.add_argument("--stats", metavar="PATH",
        help="where SimpleBaseline's mean and deviation are read from: a file or a data set")
    parser.add_argument("--stats-unit", default="m", choices=("m", "cm", "mm"),
        help="unit of --stats; default: %(default)s")
    # fmt: on


def add_export(commands) -> None:
    def run(args) -> None:
        from liftjax.interchange import exporting
        from liftjax.weights.using import resolve

        offline = args.offline
        exporting.export_network(
            args.out,
            format=args.format,
            model=args.model,
            checkpoint=resolve(args.checkpoint, "detector", "lifter", offline=offline),
            skeleton=args.skeleton,
            num_joints=args.num_joints,
            overrides=args.keywords,
            options=exporting.ProgramOptions(
                head=args.head,
                lifters=[resolve(n, "lifter", offline=offline) for n in names(args.lifter)],
                beta=args.beta,
                weights=args.weights,
                opset=args.opset,
            ),
        )

    text = (
        "Write a network for other programs: its weights, with upstream's names and layout (orbax, "
        "safetensors, torch), or the whole network as a program (stablehlo, onnx). The file is "
        "read back and compared."
    )
    example = "python -m liftjax export --checkpoint runs/multi --format torch --out hrnet.pth"
    more = "python -m liftjax export --checkpoint runs/multi --lifter runs/lifters/mixste"
    more = f"{example}\n  {more} \\\n      --format onnx --out image_to_3d.onnx"
    parser = command(commands, "export", run, text, more)
    # fmt: off
    parser.add_argument("--checkpoint", metavar="RUN",
        help="run directory, one of its checkpoints, or a name that `weights` lists; default: "
             "weights as before training")
    parser.add_argument("--format", required=True,
        choices=("orbax", "safetensors", "torch", "stablehlo", "onnx"),
        help="format of the file")
    parser.add_argument("--out", required=True, metavar="PATH",
        help="file to write, or for orbax a directory")
    add_network(parser, "needed without --checkpoint")
    group = parser.add_argument_group("options of stablehlo and onnx")
    group.add_argument("--head", choices=("keypoints", "maps", "poses", "rtmlib"),
        help="output of the program: keypoints of a crop (default of a detector), the detector's "
             "maps, 3D poses (default of a lifter and with --lifter), or SimCC vectors as rtmlib "
             "takes them")
    group.add_argument("--lifter", nargs="+", default=(), metavar="RUN",
        help="run directories of lifters, or names that `weights` lists; they lift the joints that "
             "the detector finds")
    add_beta(group)
    group.add_argument("--weights", choices=("inside", "beside"),
        help="whether stablehlo's weights are inside the file or in a file beside it; default: "
             "inside")
    # fmt: on
    group.add_argument("--opset", type=int, metavar="N", help="opset of onnx; default: 18")
    add_offline(parser)


def add_export_2d(commands) -> None:
    def run(args) -> None:
        from liftjax.experiments import export_2d

        export_2d.export_keypoints(
            recipe_of_run(args),
            args.workdir,
            args.out,
            data=args.data,
            splits=args.split,
            poses=args.poses,
        )

    text = (
        "Write the keypoints that a detector finds on Human3.6M to a data_2d_*.npz, the file from "
        "which VideoPose3D and other lifters are trained."
    )
    example = "python -m liftjax export-2d --workdir runs/multi --data data/human36m"
    parser = command(commands, "export-2d", run, text, f"{example} --out data_2d_h36m_multi.npz")
    add_trained_run(parser, "detector")
    parser.add_argument("--data", metavar="DIR", help="data set; default: that of the recipe")
    # fmt: off
    parser.add_argument("--split", nargs="+", default=(), metavar="NAME",
        help="splits of the data set; default: all splits")
    parser.add_argument("--out", required=True, metavar="FILE",
        help="file to write, data_2d_h36m_NAME.npz")
    parser.add_argument("--poses", metavar="FILE",
        help="data_3d_h36m.npz; every video gets as many rows as it has frames in this file")
    # fmt: on
