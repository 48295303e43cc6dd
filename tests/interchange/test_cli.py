"""The two commands as the shell sees them."""

from safetensors.numpy import save_file

from liftjax import cli
from tests.interchange.checkpoints import assert_same, imported, state_dict


def test_there_and_back(tmp_path, capsys):
    save_file(state_dict("mixste"), tmp_path / "a.safetensors")
    run, file = str(tmp_path / "run"), str(tmp_path / "b.safetensors")
    arguments = ["import-weights", str(tmp_path / "a.safetensors"), "--out", run]
    assert cli.main([*arguments, "--model", "mixste", "--model.num_heads=4"]) == 0
    assert imported(run)[1]["num_heads"] == 4
    assert cli.main(["export", "--checkpoint", run, "--format", "safetensors", "--out", file]) == 0
    again = str(tmp_path / "again")
    assert cli.main(["export", "--checkpoint", run, "--format", "orbax", "--out", again]) == 0
    assert_same(imported(again)[0], state_dict("mixste"))
    capsys.readouterr()
    assert cli.main(["export", "--checkpoint", run, "--format", "safetensors", "--out", file]) == 2
    assert "exists and is not overwritten" in capsys.readouterr().err


def test_wrong_options(tmp_path, capsys):
    assert cli.main(["import-weights", str(tmp_path / "no.pth"), "--out", str(tmp_path)]) == 2
    assert "There is no file" in capsys.readouterr().err
    assert cli.main(["demo", "--model.width=3"]) == 2
    assert "takes no --model.KEY=VALUE" in capsys.readouterr().err
