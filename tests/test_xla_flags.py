"""Flags and the cache of compiled programs: what the user has set wins, nothing is set twice."""

import os
import subprocess
import sys

import pytest

from liftjax import xla_flags


@pytest.fixture
def gpus(tmp_path):
    """A folder of devices with two NVIDIA GPUs."""
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "sda"):
        (tmp_path / name).touch()
    return str(tmp_path)


def test_a_machine_without_gpus_gets_no_flag_for_them(tmp_path):
    environment = {}
    xla_flags.configure(environment, str(tmp_path / "none"))
    assert "gpu" not in environment.get("XLA_FLAGS", "")
    assert environment["TF_CPP_MIN_LOG_LEVEL"] == "2"


def test_flags_of_the_user_win_and_none_is_doubled(gpus, monkeypatch):
    monkeypatch.setattr(xla_flags, "SEVERAL_GPUS_FLAGS", ("--xla_first=1", "--xla_second=2"))
    environment = {"XLA_FLAGS": "--xla_second=5 --xla_first_of_all=3"}
    for _ in range(2):
        xla_flags.configure(environment, gpus)
    flags = environment["XLA_FLAGS"].split()
    assert flags[:2] == ["--xla_second=5", "--xla_first_of_all=3"]
    assert flags[2:] == ["--xla_first=1"]


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({}, 2),
        ({"CUDA_VISIBLE_DEVICES": "1"}, 1),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 0),
        ({"JAX_PLATFORMS": "cpu"}, 0),
        ({"JAX_PLATFORMS": "cuda,cpu"}, 2),
    ],
)
def test_gpus_are_counted_as_jax_would_see_them(environment, count, gpus):
    assert xla_flags.count_gpus(environment, gpus) == count


def test_every_flag_is_known_to_xla():
    """One that is not ends the process."""
    flags = " ".join(xla_flags.SEVERAL_GPUS_FLAGS)
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    code = "import jax; print(jax.jit(lambda x: x + 1)(1))"
    run = [sys.executable, "-c", code]
    told = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "2"


def test_the_cache_lies_in_the_users_cache_folder(tmp_path):
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    xla_flags.cache_compilations(environment)
    assert environment["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "liftjax" / "xla")
    assert (tmp_path / "liftjax" / "xla").is_dir()
    environment = {"XDG_CACHE_HOME": str(tmp_path), "LIFTJAX_XLA_CACHE": str(tmp_path / "other")}
    xla_flags.cache_compilations(environment)
    assert environment["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "other")


@pytest.mark.parametrize(
    "given",
    [
        {"LIFTJAX_XLA_CACHE": "off"},
        {"JAX_COMPILATION_CACHE_DIR": "/elsewhere"},
        {"JAX_COMPILATION_CACHE_DIR": ""},
        {"LIFTJAX_XLA_CACHE": "/dev/null/cache"},
    ],
)
def test_the_cache_is_left_alone(given, tmp_path):
    environment = {"XDG_CACHE_HOME": str(tmp_path), **given}
    xla_flags.cache_compilations(environment)
    assert environment == {"XDG_CACHE_HOME": str(tmp_path), **given}
    assert not list(tmp_path.iterdir())


PROGRAM = """
import sys
from liftjax import cli
cli._run = lambda args: None
cli.hosts.leave = lambda status: status
cli.main(sys.argv[1:])
import jax
print(jax.jit(lambda x: x * 3 + 1)(jax.numpy.ones(3)).sum())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "kept"), [("benchmark", True), ("demo", True), ("models", False)]
)
def test_commands_that_compile_much_keep_it(command, kept, tmp_path):
    environment = {k: v for k, v in os.environ.items() if "CACHE" not in k}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    told = []
    for _ in range(2):
        run = [sys.executable, "-c", PROGRAM, command]
        ran = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
        assert "machine type" not in ran.stderr
        told.append(ran.stdout)
    assert told[0] == told[1]
    assert bool(list(tmp_path.rglob("*-cache"))) == kept


PAGES = """
import resource
from liftjax import xla_flags

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(2**26)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = xla_flags.keep_freed_memory()
faults()
print(kept, faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
@pytest.mark.parametrize(
    ("variables", "kept"),
    [
        ({"JAX_PLATFORMS": "cpu"}, True),
        ({"JAX_PLATFORMS": "cuda"}, False),
        ({"JAX_PLATFORMS": "cpu", "MALLOC_ARENA_MAX": "2"}, False),
    ],
)
def test_freed_memory_is_kept_for_the_next_step_on_a_cpu(variables, kept):
    """The kernel then has no page to clear; what the user has set is left alone."""
    run = [sys.executable, "-c", PAGES]
    environment = os.environ | variables
    told = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
    said, faults = told.stdout.split()
    assert said == str(kept)
    assert (int(faults) < 100) == kept
