"""The command predict."""

import warnings

from liftjax.cli.options import command, names


def add_predict(commands) -> None:
    def run(args) -> None:
        from liftjax.inference import command

        warnings.filterwarnings("ignore", module="PIL")  # odd metadata are read as far as they go
        command.run(
            args.input,
            args.out,
            detector=args.detector,
            lifters=names(args.lifter),
            where=command.BoxOptions(args.boxes, args.box, args.person_detector, args.least_score),
            fps=args.fps,
            focal_px=args.focal,
            beta=args.beta,
            batch_size=args.batch_size,
            precision=args.precision,
            write=args.write,
        )

    text = "2D and 3D poses of the people in pictures, videos or before a camera."
    example = "python -m liftjax predict walk.mp4 --person-detector yolox_m.onnx"
    more = "--detector runs/multi --lifter runs/lifters/mixste --out poses"
    parser = command(commands, "predict", run, text, f"{example} \\\n      {more}")
    parser.add_argument(
        "input", nargs="+", help="pictures, folders, videos, or the number of a camera"
    )
    parser.add_argument("--detector", required=True, metavar="RUN", help="run directory")
    parser.add_argument(
        "--lifter", nargs="+", action="extend", default=[], metavar="RUN",
        help="run directories; none: 2D alone",
    )  # fmt: skip
    parser.add_argument("--out", required=True, metavar="DIR", help="where files are written")
    where = parser.add_argument_group("where people are (default: one fills the whole frame)")
    where.add_argument("--boxes", metavar="FILE", help="detections in COCO's JSON form")
    where.add_argument(
        "--box", nargs="+", action="extend", default=[], metavar="X0,Y0,X1,Y1",
        help="pixels, the same in all frames; of a negative X0: --box=X0,...",
    )  # fmt: skip
    where.add_argument("--person-detector", metavar="FILE", help="ONNX file of a YOLOX")
    where.add_argument(
        "--least-score", type=float, default=0.5, help="of a detection; default: %(default)s"
    )
    parser.add_argument(
        "--fps",
        type=float,
        help="of a folder whose pictures follow each other; instead of a video file's own",
    )
    parser.add_argument("--focal", type=float, metavar="PX", help="focal length, for places in 3D")
    parser.add_argument("--beta", type=float, help="of soft-argmax; default: as trained")
    parser.add_argument("--batch-size", type=int, help="crops; default: 1 on a CPU, else 32")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument(
        "--write", nargs="+", metavar="KIND",
        help="of json, npz, bvh, overlay and html; default: all",
    )  # fmt: skip
