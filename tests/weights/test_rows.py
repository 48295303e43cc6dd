"""Every kind of file in the list, from a publisher's server to keypoints and poses.

The files have the publishers' formats, names and sizes, with weights of our own.
"""

import contextlib
import io
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from flax import nnx

import liftjax
from liftjax import torch_weights
from liftjax.cli import main
from liftjax.inference.results import Frame
from liftjax.inference.yolox import PersonDetector
from liftjax.registry import create_network
from liftjax.runtime.checkpoints import load_model
from liftjax.skeletons import get_skeleton
from liftjax.weights.published import PUBLISHED, PublishedWeights
from liftjax.weights.using import file, run_directory
from tests.goldens import weights as goldens
from tests.inference import networks
from tests.inference.test_yolox import write_network
from tests.interchange.checkpoints import assert_same, mmpose_hrnet, save
from tests.interchange.mmpose_lifters import mmpose_simple_baseline, mmpose_videopose3d
from tests.slow import slow
from tests.weights.publisher import publish, publishing

torch = pytest.importorskip("torch")

DATASETS = {"wholebody": "coco_wholebody", "human36m": "h36m"}  # MMPose's names, if not ours
# As others in format and network, with another number of joints.
ALIKE = ("rtmpose_m/mpii", "hrnet_w32/coco_mmpose0", "hrnet_w32/mpii", "hrnet_w48/wholebody")
PICTURE = np.random.default_rng(0).integers(0, 256, (96, 64, 3), np.uint8)
BOX = [8, 4, 50, 90]


def state_of(weights: PublishedWeights, **sizes) -> dict[str, np.ndarray]:
    """A state_dict of the network, by the names of its authors, filled from the names."""
    joints = {"skeleton": weights.skeleton or "coco"} | sizes

    def shapes():
        module = nnx.eval_shape(lambda: create_network(weights.network, **joints, rngs=nnx.Rngs(0)))
        return torch_weights.shapes(module)

    return {key: goldens.fill(key, shape) for key, shape in shapes().items()}


def detector_file(weights: PublishedWeights) -> tuple[dict, dict]:
    """The publisher's file of a detector or backbone, and the arrays that liftjax shall take."""
    size = {"image_size": weights.image_size} if weights.image_size else {}
    state = state_of(weights, **size)
    dataset = DATASETS.get(weights.skeleton, weights.skeleton)
    meta = {"dataset_meta": {"dataset_name": dataset}, "cfg": "", "mmengine_version": "0.10"}
    if "/v1/" not in weights.address:
        meta = {"config": f"dict(type='TopDown{dataset}Dataset')", "mmpose_version": "0.8"}
    if weights.network.startswith("hrnet") and weights.kind == "detector":
        head = "head" if "/v1/" in weights.address else "keypoint_head"
        return {"meta": meta, "state_dict": mmpose_hrnet(state, head)}, state
    if weights.name == "rtmpose_m/cspnext":
        trunk = {key: value for key, value in state.items() if key.startswith("backbone.")}
        more = {"head.final_layer.weight": np.zeros((17, 256, 1, 1), np.float32)}
        return {"meta": meta, "state_dict": trunk | more}, trunk
    if weights.kind == "backbone":
        trunk = {key: value for key, value in state.items() if not key.startswith("final_layer")}
        return trunk | {"classifier.weight": np.zeros((1000, 8), np.float32)}, trunk
    colours = {"data_preprocessor.mean": np.array([123.675, 116.28, 103.53]).reshape(3, 1, 1)}
    return {"meta": meta, "state_dict": colours | state}, state


def lifter_file(weights: PublishedWeights) -> dict:
    if weights.name == "simple_baseline/h36m_mmpose":
        network, text = mmpose_simple_baseline(channels=8, version=0)
        return {"meta": {"config": text}, "state_dict": network.state_dict()}
    widths = (3,) * round(np.log(weights.frames) / np.log(3)) if weights.frames > 1 else (1,) * 5
    if weights.name.startswith("videopose3d/h36m_mmpose"):
        return {"state_dict": mmpose_videopose3d(widths, 8, "keypoint_head").state_dict()}
    sizes = {"filter_widths": widths, "channels": 8, "skeleton_2d": weights.skeleton_2d}
    return {"model_pos": state_of(weights, **sizes), "epoch": 80, "random_state": None}


def person_detector_file(weights: PublishedWeights, folder: Path) -> bytes:
    """A network that sees one person, (10, 20) to (60, 90) of its input."""
    shape = (1, 3, *weights.image_size)
    if weights.file.endswith(".onnx"):
        cells = sum((weights.image_size[0] // stride) ** 2 for stride in (8, 16, 32))
        rows = np.zeros((1, cells, 85), np.float32)
        rows[0, 0] = [35 / 8, 55 / 8, np.log(50 / 8), np.log(70 / 8), 0.9, 0.9, *[0] * 79]
        return Path(write_network(folder / "a.onnx", [rows], shape)).read_bytes()
    found = [np.array([[[10, 20, 60, 90, 0.8]]], np.float32), np.zeros((1, 1), np.int64)]
    network = Path(write_network(folder / "a.onnx", found, shape)).read_bytes()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(f"20230831/{weights.file[:-4]}/end2end.onnx", network)
        packed.writestr(f"20230831/{weights.file[:-4]}/deploy.json", "{}")
    return archive.getvalue()


@contextlib.contextmanager
def served(monkeypatch, folder: Path, name: str, content: bytes | dict):
    """A server of that file under its published path."""
    if isinstance(content, dict):
        content = Path(save(folder / "file.pth", content)).read_bytes()
    with publishing(content) as server:
        publish(monkeypatch, server, name)
        yield


def names(kind: str, *quick: str) -> list:
    """The first of each kind of file, by network; all but the `quick` ones have the marker slow."""
    first = {}
    for weights in PUBLISHED.values():
        if weights.kind == kind and weights.address:
            place = weights.address.removesuffix(weights.file)
            network = weights.network.partition("_")[0]
            first.setdefault((network, place, weights.skeleton), weights.name)
    return [n if n in quick else slow(n) for n in first.values() if n not in ALIKE]


@pytest.mark.parametrize("name", names("detector", "rtmpose_t/coco"))
def test_detectors(tmp_path, monkeypatch, name):
    weights = PUBLISHED[name]
    tree, state = detector_file(weights)
    with served(monkeypatch, tmp_path, name, tree):
        module, meta = load_model(run_directory(name), "detector")
    assert (module.spec.skeleton, module.spec.image_size) == (weights.skeleton, weights.image_size)
    assert meta["origin"]["licence"] == weights.terms
    assert_same(torch_weights.dump(module), state)
    assert_equals_its_twin(module)
    people = liftjax.Predictor(name)(PICTURE, BOX)
    assert people.skeleton_2d == get_skeleton(weights.skeleton)
    assert np.isfinite(people.kpts_px).all()


def assert_equals_its_twin(module: nnx.Module) -> None:
    from liftjax.benchmark.torch_peer import twin_of

    image = np.random.default_rng(0).normal(size=(1, *module.spec.image_size, 3))
    image = image.astype(np.float32)
    ours = [np.asarray(part) for part in _parts(module(image))]
    with torch.no_grad():
        theirs = _parts(twin_of(module).eval()(torch.from_numpy(image).permute(0, 3, 1, 2)))
    for a, b in zip(ours, theirs, strict=True):
        b = b.numpy().transpose(0, 2, 3, 1) if b.ndim == 4 else b.numpy()
        np.testing.assert_allclose(a, b, atol=1e-4 * np.ptp(b))


def _parts(output) -> tuple:
    if hasattr(output, "_fields"):
        return tuple(output)
    return output if isinstance(output, tuple) else (output,)


@pytest.mark.parametrize("name", names("backbone"))
def test_backbones_get_a_head(tmp_path, monkeypatch, name):
    tree, trunk = detector_file(PUBLISHED[name])
    with served(monkeypatch, tmp_path, name, tree):
        module, _ = load_model(run_directory(name, skeleton="human36m"), "detector")
    found = torch_weights.dump(module)
    assert_same({key: found[key] for key in trunk}, trunk)
    assert module.spec.skeleton == "human36m"


LIFTERS = names("lifter", "videopose3d/h36m_from_coco", "simple_baseline/h36m_mmpose")


@pytest.mark.parametrize("name", LIFTERS)
def test_lifters(tmp_path, monkeypatch, name):
    weights = PUBLISHED[name]
    with served(monkeypatch, tmp_path, name, lifter_file(weights)):
        spec = load_model(run_directory(name), "lifter")[0].spec
    assert spec.skeleton == weights.skeleton
    assert spec.skeleton_2d == (weights.skeleton_2d or weights.skeleton)
    assert spec.receptive_field == weights.frames
    detector = networks.detector(spec.skeleton_2d)
    people = liftjax.Predictor(detector, {"it": name})(PICTURE, BOX)
    assert people.skeleton_3d == get_skeleton(weights.skeleton)
    assert np.isfinite(people.poses_m["it"]).all()


@pytest.mark.parametrize("name", names("person_detector", "yolox_nano/person", "yolox_nano/coco"))
def test_person_detectors(tmp_path, monkeypatch, name):
    pytest.importorskip("onnxruntime")
    weights = PUBLISHED[name]
    content = person_detector_file(weights, tmp_path)
    with served(monkeypatch, tmp_path, name, content):
        find = PersonDetector(file(name))
    boxes, scores = find(Frame(0, "0", np.zeros((*weights.image_size, 3), np.uint8)))
    np.testing.assert_allclose(boxes, [[10, 20, 60, 90]], atol=0.01)
    np.testing.assert_allclose(scores, [0.8], atol=0.02)


@pytest.mark.slow
def test_predict_with_no_other_word(tmp_path, monkeypatch, capsys):
    """The published defaults at their real sizes, each from its own server; then from the disk."""
    pytest.importorskip("onnxruntime")
    from liftjax.inference.command import DEFAULTS

    find, detect, lift = DEFAULTS.values()
    files = {
        find: person_detector_file(PUBLISHED[find], tmp_path),
        detect: detector_file(PUBLISHED[detect])[0],
        lift: lifter_file(PUBLISHED[lift]),
    }
    cv2.imwrite(str(tmp_path / "photo.jpg"), PICTURE)
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as servers:
        for name, content in files.items():
            servers.enter_context(served(monkeypatch, tmp_path, name, content))
        assert main(["predict", "photo.jpg"]) == 0
    out = capsys.readouterr().out
    assert all(f"{what} {name}" in out for what, name in DEFAULTS.items())
    assert out.count("licence: Apache-2.0") == 3
    found = json.loads((tmp_path / "poses" / "photo.json").read_text())
    assert (found["skeleton_2d"]["name"], found["skeleton_3d"]["name"]) == ("halpe26", "human36m")
    assert len(found["frames"][0]["people"]) == 1
    written = {path.name for path in (tmp_path / "poses").iterdir()}
    assert written >= {"photo.html", "photo.npz", "photo_poses.jpg", "photo_person0.bvh"}
    assert main(["predict", "photo.jpg", "--offline", "--out", "again", "--write", "json"]) == 0
    again = json.loads((tmp_path / "again" / "photo.json").read_text())
    assert again["frames"] == found["frames"]
