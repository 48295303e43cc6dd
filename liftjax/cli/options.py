"""What commands share."""

import argparse
from collections.abc import Sequence


def command(commands, name: str, run, text: str, example: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def names(given: Sequence[str]) -> list[str]:
    """Values with spaces or commas between them."""
    return [name for text in given for name in text.split(",") if name]


def add_hosts(parser: argparse.ArgumentParser) -> None:
    """The options of one process among several; without them the environment tells."""
    group = parser.add_argument_group("several hosts (found by themselves on TPU slices and SLURM)")
    group.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0, any free port")
    group.add_argument("--num-processes", type=int, metavar="N")
    group.add_argument("--process-id", type=int, metavar="I", help="of this one, from 0")
    group.add_argument(
        "--start-timeout", type=int, default=300, metavar="S", help="seconds; default: %(default)s"
    )


def add_network(parser: argparse.ArgumentParser, model: str) -> None:
    """The options that name a network; --model.KEY=VALUE sets a keyword of it."""
    parser.add_argument("--model", help=f"network, see `models`; {model}")
    parser.add_argument("--skeleton", help="joint set to find or lift")
    parser.add_argument("--num-joints", type=int, help="of a joint set without a name")
