"""One process of several that works with the others until it is told to do something else.

    python -m tests.multi_host.program WHAT ...flags of several hosts...

WHAT: `steps` ends well after a few steps; `error` has process 1 raise an error in mid-run; `wait`
goes on until it is killed.
"""

import argparse
import sys
import time

from liftjax import cli, hosts
from liftjax.cli.options import add_hosts
from liftjax.errors import LiftjaxError


def work(args) -> None:
    import jax

    step = 0
    while args.what == "wait" or step < 5:
        hosts.check_same("step", f"{step}")
        print(f"step {step}", flush=True)
        step += 1
        time.sleep(0.1)
        if args.what == "error" and step == 3 and jax.process_index() == 1:
            raise LiftjaxError("a file is missing on this host")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what")
    add_hosts(parser)
    parser.set_defaults(run=work)
    sys.exit(hosts.leave(cli._run(parser.parse_args())))
