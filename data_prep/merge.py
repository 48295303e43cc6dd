"""The `merge` command: the last step of a build over several machines."""

import argparse

from data_prep.building import merge_shards


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, help="the --out of the builds with --shard")
    parser.add_argument(
        "others",
        nargs="*",
        metavar="DIR",
        help="the --out of builds on other disks, whose parts are copied here first",
    )


def run_command(args: argparse.Namespace) -> None:
    merge_shards(args.out, args.others)
