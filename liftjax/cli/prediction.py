"""The command predict."""

import argparse
import warnings

from liftjax.cli.options import command, names


def add_predict(commands) -> None:
    def run(args) -> None:
        from liftjax.inference import command

        warnings.filterwarnings("ignore", module="PIL")  # odd metadata are read as far as they go
        command.predict_to_files(
            args.input,
            args.out,
            detector=args.detector,
            lifters=names(args.lifter),
            where=command.BoxOptions(args.boxes, args.box, args.person_detector, args.min_score),
            fps=args.fps,
            focal_px=args.focal,
            beta=args.beta,
            batch_size=args.batch_size,
            precision=args.precision,
            write=args.write,
        )

    text = "Find 2D and 3D poses of the people in pictures, videos or a camera's view."
    example = "python -m liftjax predict walk.mp4 --person-detector yolox_m.onnx"
    more = "--detector runs/multi --lifter runs/lifters/mixste --out poses"
    parser = command(commands, "predict", run, text, f"{example} \\\n      {more}")
    parser.add_argument(
        "input", nargs="+", help="pictures, folders, videos, or the number of a camera"
    )
    parser.add_argument(
        "--detector", required=True, metavar="RUN", help="run directory of the 2D detector"
    )
    parser.add_argument(
        "--lifter", nargs="+", action="extend", default=[], metavar="RUN",
        help="run directories of lifters; default: none, for 2D poses alone",
    )  # fmt: skip
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    where = parser.add_argument_group("where people are (default: one fills the whole frame)")
    where.add_argument("--boxes", metavar="FILE", help="person boxes as COCO detections (JSON)")
    where.add_argument(
        "--box", nargs="+", action="extend", default=[], metavar="X0,Y0,X1,Y1",
        help="boxes in pixels, the same in all frames; with a negative X0 write --box=X0,...",
    )  # fmt: skip
    where.add_argument("--person-detector", metavar="FILE", help="ONNX file of a YOLOX network")
    where.add_argument(
        "--min-score", type=float, default=0.5, metavar="SCORE",
        help="leave out detections with a lower score; default: %(default)s",
    )  # fmt: skip
    where.add_argument(  # its old name
        "--least-score", dest="min_score", type=float, default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )  # fmt: skip
    parser.add_argument(
        "--fps", type=float,
        help="frames a second: makes a folder of pictures a video, overrides a video file's own",
    )  # fmt: skip
    parser.add_argument(
        "--focal", type=float, metavar="PX",
        help="focal length in pixels, for positions in 3D; default: 1.15 times the longer side",
    )  # fmt: skip
    parser.add_argument(
        "--beta", type=float, help="beta of the soft-argmax; default: as the detector was trained"
    )
    parser.add_argument(
        "--batch-size", type=int, metavar="N",
        help="crops in a batch of the detector; default: 1 on a CPU, else 32",
    )  # fmt: skip
    parser.add_argument(
        "--precision", default="float32", choices=("float32", "bfloat16"),
        help="of the detector's activations; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--write", nargs="+", metavar="KIND",
        help="what to write: json, npz, bvh, overlay or html; default: all of them",
    )  # fmt: skip
