"""Zip archives with an ONNX file inside, as MMPose publishes them."""

import json
import zipfile

import pytest

from liftjax.errors import LiftjaxError
from liftjax.interchange import zipped
from liftjax.interchange.files import read_weight_file

FOLDER = "20230831/rtmpose_onnx/rtmpose-m_simcc-body7_pt-body7-halpe26_700e-256x192/"


def archive(path, **contents):
    """Writes a zip archive of MMPose's form with files of these stems, and returns its path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("deploy.json", "detail.json"):
            file.writestr(FOLDER + name, "{}")
        for stem, content in contents.items():
            file.writestr(f"{FOLDER}{stem.replace('_', '.')}", content)
    return path


def test_the_one_onnx_file_is_read(tmp_path):
    assert zipped.read_onnx(archive(tmp_path / "a.zip", end2end_onnx=b"network")) == b"network"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.zip"]


def refused(path, match):
    for read in (zipped.read_onnx, read_weight_file):
        with pytest.raises(LiftjaxError, match=match) as error:
            read(path)
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)


def test_none_or_several(tmp_path):
    path = archive(tmp_path / "a.zip", a_onnx=b"1", b_onnx=b"2")
    refused(path, r"holds 2 ONNX files, .*a\.onnx, .*b\.onnx; unpack it")
    path = archive(tmp_path / "a.zip", weights_pth=b"1")
    refused(path, r"holds no ONNX file, but .*weights\.pth; give the file of the weights")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    refused(tmp_path / "empty.zip", "holds no ONNX file, but nothing")


def test_a_file_that_would_fill_the_memory(tmp_path, monkeypatch):
    path = archive(tmp_path / "a.zip", end2end_onnx=bytes(10**6))
    assert path.stat().st_size < 10**4
    monkeypatch.setattr(zipped, "_LARGEST", 10**5)
    refused(path, "would have 1,000,000 bytes, more than any ONNX file")


@pytest.mark.parametrize("kept", [40, -30])
def test_a_file_that_is_cut_short(tmp_path, kept):
    path = archive(tmp_path / "a.zip", end2end_onnx=bytes(range(256)) * 99)
    path.write_bytes(path.read_bytes()[:kept])
    refused(path, "is damaged or cut short .*: download it again")


def test_a_file_that_is_damaged(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("end2end.onnx", b"network " * 9)
    path.write_bytes(path.read_bytes().replace(b"network network", b"network nutwork", 1))
    refused(path, "is damaged or cut short .*CRC")


def test_a_file_with_a_password(tmp_path):
    """The mark is set in both headers; there is no password to try."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("end2end.onnx", b"network")
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    refused(path, r"end2end\.onnx.* is encrypted, password required")


def pipeline(mean, size=(416, 416)) -> str:
    """MMDeploy's description of how pictures are prepared."""
    resize = {"type": "Resize", "keep_ratio": True, "size": size}
    transforms = [{"type": "Load"}, resize, {"type": "Normalize", "mean": mean, "to_rgb": True}]
    task = {"module": "Transform", "transforms": transforms}
    return json.dumps({"pipeline": {"tasks": [task, {"module": "Net"}]}})


def test_the_preparation_that_is_stated(tmp_path):
    mean = (103.53, 116.28, 123.675)
    path = archive(tmp_path / "a.zip", end2end_onnx=b"", pipeline_json=pipeline(mean))
    assert zipped.stated_preparation(path) == ((416, 416), mean)
    path = archive(tmp_path / "a.zip", pipeline_json='{"pipeline": {"tasks": []}}')
    assert zipped.stated_preparation(path) == ((), ())
    for text in ("{}", "no JSON", '{"pipeline": {"tasks": [7]}}', pipeline(None), pipeline("x")):
        path = archive(tmp_path / "a.zip", end2end_onnx=b"", pipeline_json=text)
        assert zipped.stated_preparation(path) == ((), ())
    path = archive(tmp_path / "a.zip", end2end_onnx=b"")
    assert zipped.stated_preparation(path) == ((), ())


def test_a_file_of_torch_is_not_taken_for_one_of_onnx(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.ones(2)}, tmp_path / "a.zip")
    assert read_weight_file(tmp_path / "a.zip").tree["w"].tolist() == [1, 1]
