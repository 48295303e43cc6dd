import pytest

from data_prep.__main__ import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"python -m data_prep {command}" in text
    assert "--out" in text


def test_unknown_commands_and_missing_arguments_exit_with_2(capsys):
    for arguments in (["multicm"], [], ["multicam"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
    assert "--out" in capsys.readouterr().err


def test_a_directory_with_other_files_is_refused_before_any_work(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert main(["multicam", "--demo-recording", "--wheel", "x", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "holds files but no data set" in error


def test_an_out_that_is_no_utf8_is_refused(tmp_path, capsys):
    assert main(["synthetic", "--out", str(tmp_path / "caf\udce9")]) == 2
    assert "caf%E9: the name is not UTF-8; choose another" in capsys.readouterr().err
