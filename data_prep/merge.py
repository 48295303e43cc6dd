"""The `merge` command: the last step of a build over several machines."""

import argparse

from data_prep.building import merge


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, help="the --out of the builds with --shard")
    parser.add_argument(
        "others",
        nargs="*",
        metavar="DIR",
        help="the --out of builds on machines with disks of their own, copied here",
    )


def run(args: argparse.Namespace) -> None:
    merge(args.out, args.others)
