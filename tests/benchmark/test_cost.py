"""`benchmark cost`: counts by hand, and the whole account of a small detector."""

import dataclasses
import json
from unittest import mock

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import Mesh, PartitionSpec

from liftjax import registry
from liftjax.benchmark import cost, problem
from liftjax.cli import main
from liftjax.nn.operations import collectives, multiply_adds
from liftjax.registry import create_detector
from liftjax.runtime.replicas import Replicas
from tests.lifters.small import build
from tests.training.toys import ToySimCC

LIFTERS = ("simple_baseline", "videopose3d")
WIDE = {"channels": 256}  # beside its weights, what the step does not read is next to nothing


def test_collectives_are_counted_in_loops_and_branches():
    def replica(x):
        def body(total, _):
            with jax.named_scope("inner"):
                return total + jax.lax.psum(x[0], "data"), None

        with jax.named_scope("outer"):
            total, _ = jax.lax.scan(body, jnp.zeros(3), length=5)
        return jax.lax.all_gather(total.astype(jnp.bfloat16), "data")

    mesh = Mesh(jax.devices()[:1], ("data",))
    specs = {"in_specs": PartitionSpec("data"), "out_specs": PartitionSpec()}
    mapped = jax.shard_map(replica, mesh=mesh, check_vma=False, **specs)
    found = list(collectives(mapped, jax.ShapeDtypeStruct((1, 3), jnp.float32)))
    assert found == [("psum", "outer/inner", 12, 5), ("all_gather", "", 6, 1)]


@pytest.fixture
def small_lifters(monkeypatch):
    monkeypatch.setattr(cost, "all_lifters", lambda frames=1: small_of(frames))


def small_of(frames: int) -> list[nnx.Module]:
    return [build("simple_baseline"), build("videopose3d", num_frames=frames, filter_widths=None)]


def test_what_several_frames_add(small_lifters, tmp_path, monkeypatch, capsys):
    """Arithmetic of the frames that are found again, and of those with a gradient."""
    monkeypatch.setattr(problem, "_RECORDS", 50)
    toy = dataclasses.replace(registry.DETECTORS["rtmpose_tiny"], keywords={}, cls=ToySimCC)
    flops = {}
    with mock.patch.dict(registry.DETECTORS, toy=toy):
        for name, more in {"1": [], "9": ["9"], "3": ["9", "--window-frames", "3"]}.items():
            out = tmp_path / f"{name}.json"
            command = ["benchmark", "cost", "--detector", "toy", "--lifters", "2"]
            command += ["--batch-size", "3", "--out", str(out)]
            assert main([*command, *(["--frames", *more] if more else [])]) == 0
            found = json.loads(out.read_text())
            flops[name] = found["flops_per_device"]
            assert found["bytes"]["found keypoints"] == (50 * 17 * 2 * 4 if more else 0)
        assert flops["1"] < flops["9"] < flops["3"]
        assert "of up to 9 frames, 3 with a gradient" in capsys.readouterr().out
        command = ["benchmark", "cost", "--detector", "toy", "--lifters", "1"]
        assert main([*command, "--frames", "9"]) == 2
        assert "None of 1 lifters sees several frames" in capsys.readouterr().err
        assert main([*command, "--window-frames", "2"]) == 2
        assert "--window-frames an odd number" in capsys.readouterr().err


def test_the_account_of_a_small_detector(small_lifters, tmp_path, capsys):
    """Which goes back to its weights, but not to the pictures before its first layer."""
    toy = dataclasses.replace(registry.DETECTORS["rtmpose_tiny"], keywords=WIDE, cls=ToySimCC)
    with mock.patch.dict(registry.DETECTORS, toy=toy):
        check_account("toy", "float32", 2, tmp_path / "cost.json", capsys)


@pytest.mark.slow
def test_the_account_of_hrnet(small_lifters, tmp_path, capsys):
    """Forward, and twice as much backward."""
    check_account("hrnet_tiny", "bfloat16", 3, tmp_path / "cost.json", capsys)


def test_a_program_for_another_machine_beside_an_earlier_one(
    small_lifters, tmp_path, monkeypatch, capsys
):
    """The tables of a GPU's program; here it is one for this CPU."""
    monkeypatch.setattr(cost.chips, "mesh", lambda *_: Replicas.create(num_devices=1).mesh)
    monkeypatch.setattr(cost.chips, "compiler_options", lambda _: {})
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    toy = dataclasses.replace(registry.DETECTORS["rtmpose_tiny"], keywords=WIDE, cls=ToySimCC)
    command = ["benchmark", "cost", "--detector", "toy", "--topology", "h200", "--lifters"]
    before, after = (tmp_path / f"{name}.json" for name in ("before", "after"))
    with mock.patch.dict(registry.DETECTORS, toy=toy):
        assert main([*command, "0", "--batch-size", "2", "--out", str(before)]) == 0
        more = ["1", "--batch-size", "4", "--compare", str(before), "--out", str(after)]
        assert main([*command, *more]) == 0
    shown = capsys.readouterr().out
    assert "FT-2D step of toy" in shown
    assert "Step through 1 lifters of toy" in shown
    assert "| layer " in shown
    assert "| operations " in shown
    assert "lifters/SimpleBaseline" in shown
    assert "Times are computed, not measured" in shown
    programs = [json.loads(path.read_text())["program"] for path in (before, after)]
    for program in programs:
        for group in ("kinds", "layers"):
            parts = program[group].values()
            assert sum(part["launches"] for part in parts) == program["launches"]
            assert sum(part["bytes"] for part in parts) == program["bytes"]
            assert sum(part["seconds"] for part in parts) == pytest.approx(program["seconds"])
    assert programs[1]["bytes"] > programs[0]["bytes"]


def check_account(name, precision, passes, out, capsys):
    height, width = size = (96, 64)
    detector = create_detector(name, skeleton="human36m", rngs=nnx.Rngs(0), image_size=size)
    parameters = sum(array.size for array in jax.tree.leaves(nnx.state(detector, nnx.Param)))
    images = jnp.zeros((2, height, width, 3))
    forward = 2 * multiply_adds(detector, images)
    arguments = ["--detector", name, "--batch-size", "2", "--precision", precision]
    arguments += ["--remat", "--step-seconds", "0.5", "--out", str(out)]
    arguments += ["--image-size", str(height), str(width)]
    assert main(["benchmark", "cost", *arguments]) == 0
    results = json.loads(out.read_text())
    sizes, sent, memory = results["bytes"], results["sent_per_device"], results["memory"]
    assert results["image_size"] == [height, width]
    assert sizes["parameters"] == 4 * parameters
    # Adam: two numbers a parameter, and the count of steps.
    assert sizes["optimizer"] == 2 * sizes["parameters"] + 4
    assert sent["gradients"]["bytes"] == sizes["parameters"]
    # Mean, variance and two sums of gradients for every channel of every batch norm.
    assert sent["batch statistics"]["bytes"] >= 4 * 4 * sizes["running statistics"] // 8
    assert results["images_per_s"] == results["images_per_step"] / 0.5
    assert memory["peak"] > memory["arguments"] > sum(sizes.values()) * 0.99
    assert results["flops_per_device"] > passes * forward
    shown = capsys.readouterr().out
    assert "gradients to the others, MiB" in shown
    assert "the hosts read 4 pictures a second" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "bfloat61"], "bfloat16"),
        (["--batch-size", "0"], "at least 1"),
        (["--lifters", "5"], "there are 4"),
        (["--lifters", "1", "4"], "--lifters takes one value"),
        (["--topology", "b200"], "its chip is not known"),
        (["--topology", "v5e:2x4x8x16"], "--topology v5e:2x4x8x16 cannot be compiled for"),
    ],
)
def test_wrong_input_is_one_line(arguments, message, capsys):
    assert main(["benchmark", "cost", "--detector", "hrnet_tiny", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_what_does_not_fit_is_said(monkeypatch):
    class Lowered:
        def compile(self, options):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 28.76G exceeds 15.75G")

    assert cost._compiled(Lowered(), "tpu", None, 1) == {
        "memory": {"too large": "RESOURCE_EXHAUSTED: 28.76G exceeds 15.75G"}
    }
