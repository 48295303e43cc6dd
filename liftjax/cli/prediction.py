"""The command predict."""

import argparse
import warnings

from liftjax.cli.options import add_beta, add_offline, command, names


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
            offline=args.offline,
        )

    text = (
        "Find 2D and 3D poses of the people in pictures, videos or a camera's view. Without "
        "--detector, published weights are fetched once and used."
    )
    example = "python -m liftjax predict photo.jpg\n  python -m liftjax predict walk.mp4"
    more = "--detector runs/multi --lifter runs/lifters/mixste --person-detector yolox_m/person"
    parser = command(commands, "predict", run, text, f"{example} \\\n      {more}")
    # fmt: off
    parser.add_argument("input", nargs="+",
        help="pictures, folders of pictures, videos, or the number of a camera")
    parser.add_argument("--detector", metavar="RUN",
        help="run directory of the detector, or a name that `weights` lists; without this option "
             "published weights find people, joints and poses")
    parser.add_argument("--lifter", nargs="+", action="extend", default=[], metavar="RUN",
        help="run directories of lifters, or names that `weights` lists; with --detector alone "
             "there are only 2D poses")
    parser.add_argument("--out", default="poses", metavar="DIR",
        help="directory to write to; default: %(default)s")
    where = parser.add_argument_group(
        "where people are", "default with --detector: one person fills the whole frame"
    )
    where.add_argument("--boxes", metavar="FILE", help="person boxes as COCO detections (JSON)")
    where.add_argument("--box", nargs="+", action="extend", default=[], metavar="X0,Y0,X1,Y1",
        help="boxes in pixels, the same in all frames; if X0 is negative, write --box=X0,...")
    where.add_argument("--person-detector", metavar="FILE",
        help="ONNX file of a YOLOX network, a .zip with one inside, or a name that `weights` lists")
    where.add_argument("--min-score", type=float, default=0.5, metavar="SCORE",
        help="leave out detections with a lower score; default: %(default)s")
    where.add_argument("--least-score", dest="min_score", type=float,  # the old name
        default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument("--fps", type=float,
        help="frames a second; a folder of pictures then is a video, and for a video file it "
             "overrides the file's own number")
    parser.add_argument("--focal", type=float, metavar="PX",
        help="focal length in pixels, for positions in 3D; default: 1.15 times the longer side")
    add_beta(parser)
    parser.add_argument("--batch-size", type=int, metavar="N",
        help="crops that the detector sees at once; default: 1 on a CPU, 32 elsewhere")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"),
        help="precision of the detector's activations; default: %(default)s")
    parser.add_argument("--write", nargs="+", metavar="KIND",
        help="what to write: json, npz, bvh, overlay or html; default: all of them")
    # fmt: on
    add_offline(parser)
