"""The `merge` command: the last step of a build over several machines."""

import argparse

from data_prep.building import merge


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, help="the --out of the builds with --shard")


def run(args: argparse.Namespace) -> None:
    merge(args.out)
