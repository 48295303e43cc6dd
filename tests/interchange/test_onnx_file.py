"""ONNX files: what onnxruntime reads off the disk gives what JAX gives."""

import json

import numpy as np
import pytest

from liftjax.detectors.spec import Decoding
from liftjax.errors import LiftjaxError
from liftjax.interchange import exporting, programs, verify
from liftjax.interchange.exporting import ProgramOptions
from tests.interchange.networks import CLIPS, LIFTER_SIZES, network

pytest.importorskip("jax2onnx")
onnx = pytest.importorskip("onnx")

from liftjax.interchange import onnx_file, onnx_graph  # noqa: E402
from tests.slow import one_in, slow  # noqa: E402

CASES = [
    slow("hrnet_tiny", "maps"),
    slow("hrnet_tiny", "poses"),  # with all lifters
    slow("rtmpose_tiny", "keypoints"),
    slow("rtmpose_tiny", "rtmlib"),
    slow("dwpose_t", "keypoints"),
    *one_in(2, ((name, "clips") for name in LIFTER_SIZES)),
]


def program(name, head):
    if head == "clips":
        return programs.lifter_program(network(name, CLIPS.get(name, 1)))
    lifters = {other: network(other) for other in LIFTER_SIZES} if head == "poses" else None
    decoding = Decoding(beta=30, quarter_pixel=name == "hrnet_tiny")
    return programs.detector_program(network(name), head, decoding, lifters)


@pytest.mark.parametrize(("name", "head"), CASES)
def test_onnxruntime_gives_what_jax_gives(tmp_path, name, head):
    """At batch 1 and 5; with the names and free batch that the program states."""
    path, given = tmp_path / "a.onnx", program(name, head)
    onnx_file.write(path, given, name)
    assert onnx_file.check(path, given).difference <= verify.TOLERANCE
    model = onnx.load(path)
    for ports, values in ((given.inputs, model.graph.input), (given.outputs, model.graph.output)):
        assert [port.name for port in ports] == [value.name for value in values]
        for port, value in zip(ports, values, strict=True):
            sizes = value.type.tensor_type.shape.dim
            assert port.shape == tuple(d.dim_param or d.dim_value for d in sizes)
    assert [entry.version for entry in model.opset_import if not entry.domain] == [onnx_file.OPSET]


def test_the_graph_is_what_other_runtimes_like(tmp_path):
    """No sizes worked out at run time, maps channels first, constants folded."""
    path = tmp_path / "a.onnx"
    onnx_file.write(path, program("rtmpose_tiny", "maps"), "a")
    operations = [node.op_type for node in onnx.load(path).graph.node]
    assert not {"Shape", "Loop", "If", "Scan"} & set(operations)
    assert operations.count("MaxPool") == 3
    assert operations.count("Transpose") < 10 < operations.count("Conv")


def test_a_file_that_differs_is_deleted(tmp_path, monkeypatch):
    """One number of the file is changed, not the comparison."""
    tidy = onnx_graph.tidy

    def spoil(model):
        tidy(model)
        largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = onnx.numpy_helper.to_array(largest).copy()
        values.reshape(-1)[::2] += 0.1
        largest.CopyFrom(onnx.numpy_helper.from_array(values, largest.name))

    monkeypatch.setattr(onnx_graph, "tidy", spoil)
    with pytest.raises(LiftjaxError, match=r"poses at batch 1 .* differs from JAX by [\d.e-]+ of"):
        exporting.export_network(
            str(tmp_path / "a.onnx"),
            format="onnx",
            model="simple_baseline",
            overrides=["linear_size=8"],
        )
    assert not list(tmp_path.iterdir())


def test_command_writes_the_file_and_what_one_needs_to_know(tmp_path, capsys):
    """The chain from picture to 3D of two checkpoints, with the decoding that was asked for."""
    lifter = str(tmp_path / "lifter")
    exporting.export_network(
        lifter, format="orbax", model="simple_baseline", overrides=["linear_size=8"]
    )
    out = tmp_path / "new" / "chain.onnx"
    exporting.export_network(
        str(out),
        format="onnx",
        model="rtmpose_tiny",
        skeleton="human36m",
        overrides=["image_size=(64,32)"],
        options=ProgramOptions(lifters=[lifter, lifter], beta=20, opset=21),
    )
    about = json.loads(out.with_name("chain.onnx.json").read_text())
    assert [p["name"] for p in about["outputs"]] == [
        "keypoints", "scores", "pose_simple_baseline", "pose_simple_baseline_2",
    ]  # fmt: skip
    assert about["inputs"][0]["shape"] == ["B", 64, 32, 3]
    assert about["opset"] == 21
    assert about["soft_argmax"]["beta"] == 20
    assert about["joints"]["names"][0] == "hip"
    assert [n["name"] for n in about["networks"]] == ["rtmpose_tiny", *["simple_baseline"] * 2]
    assert about["networks"][0]["licence"]["authors_code"] == "Apache-2.0"
    assert about["checked"]["largest_difference_from_jax"] <= verify.TOLERANCE
    assert str(tmp_path) not in out.with_name("chain.onnx.json").read_text()
    printed = capsys.readouterr().out
    assert "read back by onnxruntime" in printed

    arrays = {
        "image": np.zeros((3, 64, 32, 3), np.uint8),
        "crop_to_image": np.tile(np.eye(2, 3, dtype=np.float32), (3, 1, 1)),
        "image_size": np.full((3, 2), 100, np.float32),
    }
    lines = "\n".join(about["run"]).replace("chain.onnx", str(out))
    exec(lines, arrays)
    assert arrays["pose_simple_baseline"].shape == (3, 17, 3)


def test_what_is_refused(tmp_path, monkeypatch):
    given = program("simple_baseline", "clips")
    with pytest.raises(LiftjaxError, match="--opset 11: 18 to"):
        onnx_file.write(tmp_path / "a.onnx", given, "a", opset=11)
    monkeypatch.setitem(__import__("sys").modules, "jax2onnx", None)
    with pytest.raises(LiftjaxError, match=r"needs jax2onnx and onnxruntime: .*\[onnx\]"):
        onnx_file.write(tmp_path / "a.onnx", given, "a")
