"""`export`: what it writes is what upstream reads, and what `import-weights` reads back."""

import json
import re
import shlex

import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from liftjax import create_lifter, torch_weights
from liftjax.cli import main
from liftjax.detectors.spec import Decoding
from liftjax.errors import LiftjaxError
from liftjax.interchange import exporting, importing, run_directory
from liftjax.registry import LIFTERS
from liftjax.runtime.checkpoints import build_model, load_model, read_meta
from tests.interchange.checkpoints import SMALL, assert_same, imported, state_dict
from tests.slow import slow


def overrides(name: str) -> list[str]:
    return [f"{key}={value}" for key, value in SMALL[name].items()]


@pytest.fixture
def trained(tmp_path):
    """A run directory of SimpleBaseline with statistics, and its module."""
    random = np.random.default_rng(0)
    shapes = {"mean_2d": (17, 2), "std_2d": (17, 2), "mean_3d": (17, 3), "std_3d": (17, 3)}
    np.savez(tmp_path / "s.npz", **{k: random.uniform(0.1, 1, v) for k, v in shapes.items()})
    save_file(state_dict("simple_baseline"), tmp_path / "sb.safetensors")
    run = str(tmp_path / "trained")
    importing.import_weights(str(tmp_path / "sb.safetensors"), run, stats=str(tmp_path / "s.npz"))
    return run, load_model(run, "lifter")[0]


def assert_same_statistics(a, b):
    for name in ("mean_2d", "std_2d", "mean_3d", "std_3d"):
        np.testing.assert_array_equal(getattr(a, name)[...], getattr(b, name)[...])


@pytest.mark.parametrize(
    "name",
    [
        "videopose3d",
        *(slow(name) for name in SMALL if name not in ("simple_baseline", "videopose3d")),
    ],
)
def test_import_takes_back_what_export_wrote(tmp_path, name, capsys):
    """Through every format weights arrive bit for bit; the keywords are in the header of one, and
    in the line that is printed with the other."""
    options = overrides(name) + (["num_heads=4"] if name == "mixste" else [])
    save_file(state_dict(name), tmp_path / "first.safetensors")
    run = str(tmp_path / "run")
    joints = "human36m" if name in LIFTERS else "coco"
    importing.import_weights(
        str(tmp_path / "first.safetensors"), run, model=name, source_skeleton=joints,
        overrides=options,
    )  # fmt: skip
    state, spec = imported(run)
    exporting.export_network(str(tmp_path / "orbax"), format="orbax", checkpoint=run)
    assert_same(imported(tmp_path / "orbax")[0], state)
    for format in ("safetensors", "torch"):
        file, back = str(tmp_path / f"a.{format}"), str(tmp_path / f"back_{format}")
        exporting.export_network(file, format=format, checkpoint=run)
        importing.import_weights(file, back, source_skeleton=joints)
        found, again = imported(back)
        assert_same(found, state)
        if format == "safetensors":
            assert again == spec
    printed = re.search(r"the same network again: (.*)", capsys.readouterr().out)[1]
    *words, _ = shlex.split(printed)
    assert main([*words[3:], str(tmp_path / "printed")]) == 0
    assert imported(tmp_path / "printed")[1] == spec


@pytest.mark.slow
def test_how_it_was_trained_to_be_read_travels(tmp_path, capsys):
    trained, spec = str(tmp_path / "trained"), {
        "kind": "detector", "name": "hrnet_tiny", "skeleton": "coco", "image_size": (64, 64)
    }  # fmt: skip
    recipe = {"loss": {"beta": 30.0, "normalizer": "relu", "quarter_pixel_shift": True}}
    run_directory.write_run_directory(trained, build_model(spec), spec, {}, recipe)
    exporting.export_network(str(tmp_path / "orbax"), format="orbax", checkpoint=trained)
    exporting.export_network(
        str(tmp_path / "a.safetensors"), format="safetensors", checkpoint=trained
    )
    importing.import_weights(str(tmp_path / "a.safetensors"), str(tmp_path / "back"))
    for run in ("orbax", "back"):
        found = Decoding.of_recipe(read_meta(tmp_path / run)["recipe"])
        assert found == Decoding(30.0, "relu", True), run
    exporting.export_network(str(tmp_path / "a.pth"), format="torch", checkpoint=trained)
    assert "soft-argmax by relu with --beta 30, with a shift" in capsys.readouterr().out


def test_statistics_travel_in_the_header(tmp_path, trained):
    run, module = trained
    exporting.export_network(str(tmp_path / "a.safetensors"), format="safetensors", checkpoint=run)
    importing.import_weights(str(tmp_path / "a.safetensors"), str(tmp_path / "back"))
    assert_same_statistics(load_model(tmp_path / "back", "lifter")[0], module)


def test_statistics_travel_beside_a_torch_file(tmp_path, trained, capsys):
    pytest.importorskip("torch")
    run, module = trained
    exporting.export_network(str(tmp_path / "a.pth"), format="torch", checkpoint=run)
    beside = str(tmp_path / "a.stats.json")
    assert f"--stats {beside}" in capsys.readouterr().out
    importing.import_weights(str(tmp_path / "a.pth"), str(tmp_path / "back"), stats=beside)
    assert_same_statistics(load_model(tmp_path / "back", "lifter")[0], module)


def test_torch_file_is_a_plain_state_dict(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "new" / "a.pth"
    exporting.export_network(
        str(path), format="torch", model="iganet", overrides=overrides("iganet")
    )
    state = torch.load(path, weights_only=True)
    assert set(state) == set(state_dict("iganet"))  # with the graph
    assert all(value.is_contiguous() for value in state.values())


def test_order_and_counters_are_those_of_the_constructor(tmp_path):
    torch = pytest.importorskip("torch")
    lifter = create_lifter("videopose3d", channels=8, rngs=nnx.Rngs(0))
    exporting.export_network(
        str(tmp_path / "run"), format="orbax", model="videopose3d", overrides=["channels=8"]
    )
    exporting.export_network(
        str(tmp_path / "a.pth"), format="torch", checkpoint=str(tmp_path / "run")
    )
    state = torch.load(tmp_path / "a.pth", weights_only=True)
    assert list(state) == list(torch_weights.dump(lifter))
    counter = state["expand_bn.num_batches_tracked"]
    assert (counter.shape, counter.dtype) == ((), torch.int64)


def test_safetensors_keeps_the_layout_of_transposed_kernels(tmp_path):
    from safetensors import safe_open

    run, file = str(tmp_path / "run"), str(tmp_path / "a.safetensors")
    exporting.export_network(
        run, format="orbax", model="videopose3d", overrides=overrides("videopose3d")
    )
    exporting.export_network(file, format="safetensors", checkpoint=run)
    module, _ = load_model(run, "lifter")
    kernel = np.asarray(module.expand_conv.kernel[...])
    with safe_open(file, framework="numpy") as opened:
        weight = opened.get_tensor("expand_conv.weight")
        header = opened.metadata()
    np.testing.assert_array_equal(weight, kernel.transpose(2, 1, 0))
    assert header["model"] == "videopose3d"
    assert header["skeleton"] == "human36m"
    assert json.loads(header["spec"])["channels"] == SMALL["videopose3d"]["channels"]


@pytest.mark.slow
def test_a_head_without_joint_names(tmp_path):
    file, run = str(tmp_path / "a.safetensors"), str(tmp_path / "run")
    save_file(state_dict("hrnet_tiny"), tmp_path / "first.safetensors")
    importing.import_weights(str(tmp_path / "first.safetensors"), run, num_joints=17)
    exporting.export_network(file, format="safetensors", checkpoint=run)
    importing.import_weights(file, str(tmp_path / "back"))
    spec = imported(tmp_path / "back")[1]
    assert spec["num_joints"] == 17
    assert "skeleton" not in spec


def test_what_is_refused(tmp_path, trained):
    run, _ = trained
    out = str(tmp_path / "a.safetensors")

    def refused(match, **kw):
        with pytest.raises(LiftjaxError, match=match) as error:
            exporting.export_network(**{"out": out, "format": "safetensors"} | kw)
        assert "\n" not in str(error.value)

    refused("did you mean 'torch'", format="torhc", model="mixste")
    refused("Give --model NAME, or --checkpoint")
    refused("did you mean 'mixste'", model="mixst")
    refused("holds simple_baseline, not mixste", model="mixste", checkpoint=run)
    refused("has its joints and sizes", checkpoint=run, overrides=["depth=3"])
    refused("No checkpoint in", checkpoint=str(tmp_path / "none"))
    assert not (tmp_path / "a.safetensors").exists()
    exporting.export_network(out, format="safetensors", checkpoint=run)
    before = (tmp_path / "a.safetensors").read_bytes()
    refused("exists and is not overwritten", checkpoint=run)
    assert (tmp_path / "a.safetensors").read_bytes() == before
    (tmp_path / "b.stats.json").write_text("mine")
    pytest.importorskip("torch")
    refused("exists", checkpoint=run, format="torch", out=str(tmp_path / "b.pth"))
    assert not (tmp_path / "b.pth").exists()


def test_names_are_upstreams(golden):
    """The names, shapes and order of the original program, for a network from the registry."""
    manifest, _ = golden("mixste_t1")
    shapes = torch_weights.shapes(nnx.eval_shape(lambda: create_lifter("mixste", rngs=nnx.Rngs(0))))
    assert {key: list(shape) for key, shape in shapes.items()} == dict(manifest["state_dict"])


@pytest.mark.parametrize("format", ["torch", "safetensors", "orbax"])
def test_weights_that_come_back_changed_are_deleted(tmp_path, monkeypatch, format):
    """They are changed on their way to the disk."""
    if format == "torch":
        torch = pytest.importorskip("torch")
        save = torch.save
        spoilt = {"fcn.weight": torch.zeros(3, 16)}
        monkeypatch.setattr(torch, "save", lambda state, path: save(state | spoilt, path))
    elif format == "safetensors":
        import safetensors.numpy

        save_bytes = safetensors.numpy.save
        changed = {"fcn.weight": np.zeros((3, 16), np.float32)}
        monkeypatch.setattr(
            safetensors.numpy, "save", lambda state, metadata: save_bytes(state | changed, metadata)
        )
    else:
        flat = run_directory.flat_arrays
        monkeypatch.setattr(
            run_directory,
            "flat_arrays",
            lambda module: {k: v + 1 if k == "fcn.kernel" else v for k, v in flat(module).items()},
        )
    with pytest.raises(LiftjaxError, match=r"finds fcn\.\w+ changed by up to .* deleted"):
        exporting.export_network(
            str(tmp_path / "a"), format=format, model="iganet", overrides=overrides("iganet")
        )
    assert not list(tmp_path.iterdir())


def test_options_that_contradict_each_other(tmp_path, trained):
    run, _ = trained
    out = tmp_path / "a"

    def refused(match, format, **kw):
        network = {k: kw.pop(k) for k in ("model", "checkpoint") if k in kw}
        with pytest.raises(LiftjaxError, match=match) as error:
            exporting.export_network(
                str(out), format=format, options=exporting.ProgramOptions(**kw), **network
            )
        assert "\n" not in str(error.value)
        assert not out.exists()

    refused("--head belongs to --format stablehlo and onnx", "torch", model="iganet", head="maps")
    refused("--lifter belongs to", "safetensors", model="hrnet_tiny", lifters=[run])
    refused("--weights belongs to --format stablehlo", "onnx", model="iganet", weights="beside")
    refused("--opset belongs to --format onnx", "stablehlo", model="iganet", opset=18)
    refused("did you mean 'inside'", "stablehlo", model="iganet", weights="insid")
    refused("leave out --beta", "stablehlo", model="hrnet_tiny", head="maps", beta=3)
    refused("this is a lifter", "stablehlo", checkpoint=run, beta=3)
    refused("this is a lifter", "stablehlo", checkpoint=run, lifters=[run])
    exporting.export_network(str(tmp_path / "detector"), format="orbax", model="hrnet_tiny")
    detector = str(tmp_path / "detector")
    refused("a detector; --lifter lifts", "stablehlo", model="hrnet_tiny", lifters=[detector])
