"""Weights out of ONNX files: the network that is imported gives what the file gives."""

import random
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from liftjax import torch_weights
from liftjax.detectors.hrnet import HRNet
from liftjax.errors import LiftjaxError
from liftjax.interchange.blank import state_shapes
from liftjax.interchange.files import read_weight_file
from liftjax.interchange.heads import fit_head
from liftjax.interchange.network_spec import network_spec
from liftjax.interchange.recognising import recognise
from liftjax.nn.layers import BatchNorm
from liftjax.registry import DETECTORS

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from liftjax.benchmark import torch_peer  # noqa: E402
from liftjax.interchange import onnx_networks, onnx_weights  # noqa: E402
from liftjax.interchange.onnx_steps import all_steps  # noqa: E402
from tests.parity.peers import images_BCHW, randomize  # noqa: E402
from tests.slow import slow  # noqa: E402

SMALL_DWPOSE = {"widen": 0.125, "channels": 32, "attention_dim": 16}
# Of the output's range; measured: RTMPose-x 1.4e-4, DWPose-l 5e-5, all others less than 2e-5. With
# random weights onnxruntime's own float32 is as far from float64.
TOLERANCE = 3e-4


def export(path, network, image_size, opset=17, **options) -> str:
    """Writes the network as `torch.onnx.export` does; returns the path as text."""
    settings = {"opset_version": opset, "dynamo": False, "do_constant_folding": True} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is the old one
        torch.onnx.export(network, images_BCHW(1, *image_size), path, **settings)
    return str(path)


def twin(name, joints=17, image_size=(64, 96), **sizes):
    """A PyTorch network with MMPose's names and random weights."""
    network = torch_peer.create_detector(name, joints, image_size=image_size, **sizes)
    return randomize(network, images_BCHW(4, *image_size))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An RTMPose and an HRNet: file and PyTorch network by name."""
    folder, found = tmp_path_factory.mktemp("files"), {}
    for name in ("rtmpose_tiny", "hrnet_tiny"):
        network = twin(name)
        found[name] = export(folder / f"{name}.onnx", network, (64, 96)), network
    return found


def imported(path) -> nnx.Module:
    """The detector in the file, with its weights."""
    found = recognise(read_weight_file(path).tree, "end2end.onnx")
    spec = network_spec(path, found, None, {}, None, found.num_joints)
    module, state, _ = fit_head(found, spec)
    torch_weights.load(module, state)
    return module


def weights_in(path) -> dict[str, np.ndarray]:
    return read_weight_file(path).tree["state_dict"]


@pytest.mark.parametrize(
    ("name", "joints", "image_size", "opset", "sizes"),
    [
        ("rtmpose_tiny", 17, (64, 96), 11, {}),
        ("hrnet_tiny", 17, (64, 96), 17, {}),
        ("dwpose_t", 133, (64, 64), 17, SMALL_DWPOSE),
        slow("hrnet_tiny", 17, (64, 96), 11, {}),
        slow("rtmpose_tiny", 17, (64, 96), 17, {}),
        slow("rtmpose_tiny", 17, (64, 96), 18, {}),
        slow("hrnet_small", 17, (128, 96), 11, {}),
        slow("hrnet_w32", 17, (256, 192), 11, {}),
        slow("rtmpose_t", 26, (256, 192), 11, {}),
        slow("rtmpose_x", 17, (96, 64), 17, {}),
        slow("dwpose_l", 133, (384, 288), 17, {}),
    ],
)
def test_onnxruntime_gives_what_the_imported_network_gives(
    tmp_path, name, joints, image_size, opset, sizes
):
    network = twin(name, joints, image_size, **sizes)
    path = export(tmp_path / "a.onnx", network, image_size, opset)
    session = onnxruntime.InferenceSession(path)
    images = images_BCHW(1, *image_size).numpy()
    wanted = session.run(None, {session.get_inputs()[0].name: images})

    module = imported(path)
    assert module.spec.image_size == image_size
    assert module.spec.num_joints == joints
    graph, state = nnx.split(module)
    run = jax.jit(lambda state, images: nnx.merge(graph, state)(images))
    found = jax.tree.leaves(run(state, images.transpose(0, 2, 3, 1)))
    if len(wanted) == 1:
        found = [np.moveaxis(found[0], -1, 1)]
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() < TOLERANCE * np.ptp(theirs)


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("hrnet_w32", "rtmpose_tiny", "rtmpose_l") else slow(name)
        for name, preset in DETECTORS.items()
        if preset.weight_files
    ],
)
def test_the_networks_written_down_have_the_names_of_ours(name):
    preset = DETECTORS[name]
    if preset.cls is HRNet:
        sizes = (preset.default(key) for key in ("stem_blocks", "modules", "blocks"))
        outputs = [onnx_networks._hrnet(*sizes)]
    else:
        outputs = onnx_networks._rtmpose(preset.default("deepen"))
    steps = all_steps(outputs)
    layers = {step.name for step in steps if step.name} - {onnx_networks.ATTENTION}
    layers |= {step.norm for step in steps if step.norm}
    named = {key.removeprefix("backbone.").removeprefix("head.") for key in layers}
    shapes = state_shapes({"kind": "detector", "name": name, "num_joints": 17}, optional=False)
    ours = {key.removeprefix("backbone.").removeprefix("head.") for key in shapes}
    bare = {"weight", "bias", "running_mean", "running_var"}
    assert named == {a if b in bare else k for k in ours for a, _, b in [k.rpartition(".")]}


@pytest.mark.parametrize("name", ["rtmpose_tiny", "hrnet_tiny"])
def test_batch_norms_that_are_not_folded_are_taken_as_they_are(tmp_path, files, name):
    _, network = files[name]
    kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    path = export(tmp_path / "a.onnx", network, (64, 96), **kept)
    file = read_weight_file(path)
    assert not any("folded" in note for note in file.notes)
    found = file.tree["state_dict"]
    if name == "hrnet_tiny":
        found = {key.removeprefix("backbone.").removeprefix("head."): v for key, v in found.items()}
    wanted = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    assert set(found) == set(wanted)
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-6, atol=1e-6, err_msg=key)


def test_a_folded_batch_norm_adds_the_bias_and_nothing_else(files):
    path, _ = files["rtmpose_tiny"]
    state, front = weights_in(path), "backbone.stem.0.bn."
    norm = BatchNorm(len(state[front + "bias"]))
    torch_weights.load(norm, {k.removeprefix(front): v for k, v in state.items() if front in k})
    x = np.random.default_rng(0).normal(size=(5, len(norm.bias[...]))).astype(np.float32)
    np.testing.assert_array_equal(norm(x), x + state[front + "bias"])
    assert any("folded" in note for note in read_weight_file(path).notes)


def other_order(graph) -> None:
    """Sorts the nodes anew, at random, each behind those that it needs."""
    generator = random.Random(0)
    waiting, done = list(graph.node), {""}
    done |= {value.name for value in (*graph.input, *graph.initializer)}
    ordered = []
    while waiting:
        ready = [node for node in waiting if done.issuperset(node.input)]
        node = generator.choice(ready)
        waiting.remove(node)
        ordered.append(node)
        done.update(node.output)
    del graph.node[:]
    graph.node.extend(ordered)


def turned_sums(graph) -> None:
    for node in graph.node:
        if node.op_type in ("Add", "Mul"):
            node.input[:] = reversed(node.input)


def numbered(graph) -> None:
    """Arrays without names that tell anything."""
    names = {tensor.name: f"w{i}" for i, tensor in enumerate(graph.initializer)}
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


def in_half_precision(graph) -> None:
    for tensor in graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            half = onnx.numpy_helper.from_array(array.astype(np.float16), tensor.name)
            tensor.CopyFrom(half)


def changed(tmp_path, path, change) -> str:
    model = onnx.load(path)
    change(model.graph)
    onnx.save(model, tmp_path / "changed.onnx")
    return str(tmp_path / "changed.onnx")


@pytest.mark.parametrize("change", [other_order, turned_sums, numbered, in_half_precision])
@pytest.mark.parametrize("name", ["rtmpose_tiny", "hrnet_tiny"])
def test_how_the_exporter_wrote_it_does_not_matter(tmp_path, files, name, change):
    path, _ = files[name]
    wanted, found = weights_in(path), weights_in(changed(tmp_path, path, change))
    assert set(found) == set(wanted)
    exact = change is not in_half_precision
    for key, value in wanted.items():
        assert found[key].dtype == np.float32
        np.testing.assert_allclose(found[key], value, *((0, 0) if exact else (2e-3, 1e-4)))


def test_outputs_are_found_by_name(tmp_path, files):
    def swapped(graph):
        simcc = dict(zip([out.name for out in graph.output], ("simcc_x", "simcc_y"), strict=True))
        for node in graph.node:
            node.output[:] = [simcc.get(name, name) for name in node.output]
        for out in graph.output:
            out.name = simcc[out.name]
        graph.output.extend([graph.output[0]])
        del graph.output[0]

    path, _ = files["rtmpose_tiny"]
    found = weights_in(changed(tmp_path, path, swapped))
    np.testing.assert_array_equal(found["head.cls_x.weight"], weights_in(path)["head.cls_x.weight"])


def test_weights_in_another_file(tmp_path, files):
    path, _ = files["hrnet_tiny"]
    onnx.save(onnx.load(path), tmp_path / "a.onnx", save_as_external_data=True, location="a.data")
    wanted = weights_in(path)
    for key, value in weights_in(tmp_path / "a.onnx").items():
        np.testing.assert_array_equal(value, wanted[key])
    (tmp_path / "a.data").unlink()
    refused(tmp_path / "a.onnx", r"weights in another file, a\.data, which cannot be read")
    with pytest.raises(LiftjaxError, match=r"another file, a\.data; unpack the archive"):
        onnx_weights.read_onnx_weights((tmp_path / "a.onnx").read_bytes())


def refused(path, match):
    with pytest.raises(LiftjaxError, match=match) as error:
        read_weight_file(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def sizes_of_input(graph, *sizes):
    for dim, size in zip(graph.input[0].type.tensor_type.shape.dim, sizes, strict=True):
        dim.dim_value = size


def operation(graph, old, **new):
    """Changes the last node of that operation."""
    node = [node for node in graph.node if node.op_type == old][-1]
    for key, value in new.items():
        setattr(node, key, value)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda g: operation(g, "Conv", op_type="QLinearConv"), r"is quantised \(QLinearConv\)"),
        (
            lambda g: operation(g, "Conv", domain="com.microsoft"),
            r"not ONNX's \(Conv of com\.microsoft\); give the file as its exporter wrote it",
        ),
        (
            lambda g: operation(g, "MaxPool", op_type="AveragePool"),
            "is like RTMPose, but has something else in the place of its largest of 13",
        ),
        (
            lambda g: operation(g, "HardSigmoid", op_type="Sigmoid"),
            "is like RTMPose, but has something else in the place of its hard sigmoid",
        ),
        (lambda g: sizes_of_input(g, 1, 3, 96, 64), "has 192 and 128 bins .* two .*, 128 and 192"),
        (lambda g: g.node.remove(g.node[5]), "is not a whole ONNX file"),
        (lambda g: g.initializer[0].ClearField("raw_data"), "is not a whole ONNX file"),
    ],
)  # fmt: skip
def test_what_is_another_network(tmp_path, files, change, match):
    path, _ = files["rtmpose_tiny"]
    refused(changed(tmp_path, path, change), match)


class Normalise(torch.nn.Module):
    def forward(self, images):
        return (images - 123.0) / 58.0


def test_networks_that_liftjax_does_not_have(tmp_path, files):
    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
    shuffled = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.PixelShuffle(2))
    own = files["hrnet_tiny"][1]
    cases = {
        "none of RTMPose, DWPose": plain,
        "is RTMW, .* 133 joints.$": shuffled,
        "normalises its images": torch.nn.Sequential(Normalise(), own),
        "is HRNet with more behind it": torch.nn.Sequential(own, torch.nn.Softmax(dim=-1)),
    }
    for match, network in cases.items():
        refused(export(tmp_path / "a.onnx", network, (64, 96)), match)


def test_damaged_files(tmp_path, files):
    path, _ = files["hrnet_tiny"]
    whole = Path(path).read_bytes()
    for content in (whole[:5000], whole[:-3], whole[:3]):
        (tmp_path / "a.onnx").write_bytes(content)
        refused(tmp_path / "a.onnx", "is not a whole ONNX file|is none of")
    (tmp_path / "a.onnx").write_bytes(b"<!DOCTYPE html><html>")
    refused(tmp_path / "a.onnx", "is a web page")


def test_what_liftjax_exported(tmp_path, files):
    model = onnx.load(files["hrnet_tiny"][0])
    model.producer_name = "liftjax"
    onnx.save(model, tmp_path / "a.onnx")
    refused(tmp_path / "a.onnx", "a program that liftjax exported; use the run directory")


def test_without_onnx(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "liftjax.interchange.onnx_weights")
    with pytest.raises(LiftjaxError, match=r"needs onnx: pip install .*\[onnx\]"):
        read_weight_file(files["hrnet_tiny"][0])
