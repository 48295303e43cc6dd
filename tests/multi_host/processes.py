"""Processes of one program on this machine, as if on several hosts."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
GIVE_UP_S = 240  # no test waits longer, however busy the machine is


def free_address() -> str:
    """An address of this machine that nothing listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


class Processes:
    """Some commands at once; a context manager that leaves none of them running.

    Args:
      commands: arguments of Python, process by process. logs: directory for what they say.
      environments: further variables, one process each; one alone is for all.
    """

    def __init__(self, commands: list[list[str]], logs: Path, *environments: dict[str, str]):
        self._commands, self._logs = commands, logs
        self._environments = environments or ({},)
        if len(self._environments) == 1:
            self._environments *= len(commands)

    def __enter__(self) -> "Processes":
        self._running = []
        self._logs.mkdir(parents=True, exist_ok=True)
        clean = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
        for number, command in enumerate(self._commands):
            with open(self._log(number), "wb") as log:
                one = subprocess.Popen(
                    [sys.executable, *command],
                    cwd=ROOT,
                    env=clean | self._environments[number],
                    stdout=log,
                    stderr=log,
                )
            self._running.append(one)
        return self

    def __exit__(self, *exception) -> None:
        for one in self._running:
            one.kill()
            one.wait()

    def _log(self, number: int) -> Path:
        return self._logs / f"{number}.log"

    def said(self, number: int) -> str:
        """What a process has printed so far."""
        return self._log(number).read_text(errors="replace")

    def signal(self, number: int, what: signal.Signals) -> None:
        self._running[number].send_signal(what)

    def wait_for(self, ready: Callable[[], bool]) -> None:
        """Waits until something has come about; fails if a process ends before."""
        begun = time.monotonic()
        while not ready():
            ended = [i for i, one in enumerate(self._running) if one.poll() is not None]
            assert not ended, self.said(ended[0])
            assert time.monotonic() - begun < GIVE_UP_S
            time.sleep(0.05)

    def wait(self) -> list[int]:
        """Exit statuses."""
        until = time.monotonic() + GIVE_UP_S
        return [one.wait(max(0, until - time.monotonic())) for one in self._running]


def together(program: list[str], count: int, logs: Path, **environment: str) -> Processes:
    """`count` processes of a program that takes the flags of several hosts."""
    address = free_address()
    several = ["--coordinator", address, "--num-processes", str(count)]
    commands = [[*program, *several, "--process-id", str(i)] for i in range(count)]
    processes = Processes(commands, logs, environment)
    processes.address = address
    return processes
