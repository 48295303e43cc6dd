"""The command line at its door: help, overrides, errors of one line."""

import subprocess
import sys

import pytest

from liftjax.cli import main

COMMANDS = (
    "demo", "train", "evaluate", "predict", "tables", "benchmark", "models", "weights",
    "import-weights", "export", "export-2d",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"python -m liftjax {command}" in capsys.readouterr().out


def test_help_does_not_wait_for_jax():
    code = "import sys, liftjax.cli; print('jax' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--config", "ft2d", "--config.loss.betta=1"], "did you mean 'loss.beta'"),
        (["train", "--config", "ftd2"], "did you mean 'ft2d'"),
        (["train", "--config", "ft2d"], "No data set in"),
        (["evaluate", "--config", "ft2d"], "No checkpoint in"),
        (["train", "--config", "single_model", "--config.task=detektor"], "did you mean"),
    ],
)
def test_bad_input_is_one_line_and_status_two(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--workdir", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
    assert not (tmp_path / "run").exists()


def test_overrides_where_there_is_no_recipe_are_refused(capsys):
    assert main(["demo", "--config.seed=1"]) == 2
    assert "demo takes no --config.KEY=VALUE" in capsys.readouterr().err


def test_a_home_directory_in_workdir_is_expanded(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["evaluate", "--config", "ft2d", "--workdir=~/run"]) == 2
    assert str(tmp_path / "run") in capsys.readouterr().err


def test_what_the_system_refuses_is_said_without_its_number(tmp_path, capsys):
    arguments = ["evaluate", "--config", str(tmp_path / "x.py"), "--workdir", str(tmp_path)]
    (tmp_path / "x.py").write_text(f"open({str(tmp_path / 'none')!r})")
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said == (
        f"error: could not read or write {tmp_path / 'none'}: No such file or directory.\n"
    )
