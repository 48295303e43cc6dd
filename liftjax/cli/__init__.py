"""The command line: python -m liftjax COMMAND.

Each command imports what it needs when it runs, so that --help is immediate and XLA's flags are
set before jax starts.
"""

import argparse
import contextlib
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence

from liftjax import hosts, xla_flags
from liftjax.cli import benchmark, networks, prediction, training
from liftjax.errors import LiftjaxError, Preempted
from liftjax.names import escape_on_terminals, readable

# Commands that compile large programs.
CACHING = (
    "demo", "train", "evaluate", "predict", "tables", "benchmark", "export", "export-2d",
)  # fmt: skip
TRAINING = ("demo", "train")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status.

    Status 2 means that the user's input was wrong. Status 75 means that the process was told to end
    and has saved everything; the same command goes on.
    """
    escape_on_terminals()
    argv = list(sys.argv[1:] if argv is None else argv)
    typed = readable(shlex.join(["python", "-m", "liftjax", *argv]))
    argv, overrides = _split(argv, "--config.")
    argv, keywords = _split(argv, "--model.")
    args = _parser().parse_args(argv)
    for option, given in (("config", overrides), ("model", keywords)):
        if given and not hasattr(args, option):
            print(f"error: {args.command} takes no --{option}.KEY=VALUE.", file=sys.stderr)
            return 2
    args.overrides, args.keywords, args.typed = overrides, keywords, typed
    if hasattr(args, "workdir"):  # the shell leaves the ~ of --workdir=~/runs alone
        args.workdir = os.path.expanduser(args.workdir)
    xla_flags.configure()
    if args.command in CACHING:
        xla_flags.cache_compilations()
        xla_flags.keep_freed_memory()
    return hosts.leave(_run(args))


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the block as an exception does, so that it leaves no partial file.

    If several processes work as one program, JAX has a handler of its own.
    """
    if hosts.started():
        yield
        return

    def told(number: int, frame) -> None:
        if frame and frame.f_code.co_name == "_xla_gc_callback":  # swallows what is raised in it
            threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
        else:
            sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, told)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is told:  # training keeps its own handler
            signal.signal(signal.SIGTERM, before)


def _run(args: argparse.Namespace) -> int:
    """Runs the command of `args`; returns the exit status."""
    try:
        if hasattr(args, "coordinator"):
            hosts.start(args.coordinator, args.num_processes, args.process_id, args.start_timeout)
            hosts.announce()
        with _terminable():
            args.run(args)
    except BrokenPipeError:  # `liftjax models | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (LiftjaxError, OSError) as error:
        print(f"error: {_in_words(error)}", file=sys.stderr)
        return 2
    except Preempted as told:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # another would spoil the exit status
        print(told, file=sys.stderr)
        return told.status
    except KeyboardInterrupt:
        more = "; training continues from its last checkpoint when run again"
        print(f"\nStopped{more if args.command in TRAINING else ''}.", file=sys.stderr)
        return 130
    except Exception:
        if not hosts.started():
            raise
        traceback.print_exc()
        print(hosts.AFTER_A_FAILURE, file=sys.stderr)
        return 1
    return 0


def _in_words(error: Exception) -> str:
    """The message of an error, without the system's number for it."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"could not read or write {error.filename}: {error.strerror}."
    return str(error)


def _split(argv: list[str], prefix: str) -> tuple[list[str], list[str]]:
    """`argv` without the arguments that begin with `prefix`, and the rest of those arguments."""
    rest = [argument for argument in argv if not argument.startswith(prefix)]
    return rest, [a.removeprefix(prefix) for a in argv if a.startswith(prefix)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="liftjax", description="Train 2D pose detectors through frozen 3D lifters."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    training.add_demo(commands)
    training.add_train(commands)
    training.add_evaluate(commands)
    prediction.add_predict(commands)
    training.add_tables(commands)
    benchmark.add_benchmark(commands)
    networks.add_models(commands)
    networks.add_weights(commands)
    networks.add_import(commands)
    networks.add_export(commands)
    networks.add_export_2d(commands)
    return parser
