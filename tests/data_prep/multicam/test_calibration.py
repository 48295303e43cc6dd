import dataclasses

import cv2
import numpy as np
import pytest

from data_prep.multicam.calibration import is_calibration, read_cameras
from liftjax.errors import LiftjaxError
from tests.data_prep.multicam import synthetic_recording as synthetic
from tests.data_prep.multicam.synthetic_recording import read_calibration


@pytest.fixture
def toml(tmp_path):
    synthetic.write_toml(tmp_path / "Calib.toml", synthetic.make_cameras())
    return tmp_path / "Calib.toml"


@pytest.mark.parametrize("form", ["Calib.toml", "Calib.qca.txt"])
def test_cameras_come_back(tmp_path, form):
    write = synthetic.write_toml if form.endswith("toml") else synthetic.write_qca
    write(tmp_path / form, synthetic.make_cameras())
    assert is_calibration(tmp_path / form)
    for camera, expected in zip(
        read_calibration(tmp_path / form), synthetic.make_cameras(), strict=True
    ):
        assert camera.name == expected.name
        assert camera.image_size == expected.image_size
        for field in ("K", "R", "t", "distortion"):
            np.testing.assert_allclose(getattr(camera, field), getattr(expected, field), atol=1e-9)


def test_five_distortions_and_units(toml):
    text = toml.read_text().replace("0.001, -0.002]", "0.001, -0.002, 0.3]")
    toml.write_text(text)
    cameras = read_calibration(toml, "mm")
    assert cameras[0].distortion.tolist() == [-0.05, 0.1, 0.001, -0.002, 0.3]
    np.testing.assert_allclose(cameras[1].t, synthetic.make_cameras()[1].t / 1000)


def test_a_settings_file_is_no_calibration(tmp_path):
    (tmp_path / "Config.toml").write_text('[project]\nmulti_person = false\n[pose]\nmodel = "x"\n')
    assert not is_calibration(tmp_path / "Config.toml")


SPOILT = [
    (("fisheye = false", "fisheye = true"), r"\[cam_01\]: it is a fisheye camera"),
    (("-0.05, 0.1, 0.001, -0.002", "-0.05, 0.1"), "distortions has 2 numbers, expected 4 or 5"),
    (("size = ", "sise = "), r"\[cam_01\]: size is missing"),
    (("[[400.0, 0.0, 118.0]", "[[nan, 0.0, 118.0]"), "K holds NaN"),
    (("[[400.0, 0.0, 118.0]", "[[-400.0, 0.0, 118.0]"), "focal length is not positive"),
    (("rotation = [", "rotation = [0.0, "), r"rotation has shape \(4,\)"),
    (("[cam_02]", "[cam_02"), "is not a TOML file"),
    (('name = "cam_02"', 'name = "cam_01"'), "two cameras are called 'cam_01'"),
]


@pytest.mark.parametrize(("edit", "message"), SPOILT)
def test_what_is_wrong_is_named(toml, edit, message):
    assert edit[0] in toml.read_text()
    toml.write_text(toml.read_text().replace(*edit))
    with pytest.raises(LiftjaxError, match=message):
        read_calibration(toml)


def check_equal(cameras, names):
    assert [camera.name for camera in cameras] == names
    for camera, expected in zip(cameras, synthetic.make_cameras(), strict=True):
        assert camera.image_size == expected.image_size
        for field in ("K", "R", "t", "distortion"):
            np.testing.assert_allclose(getattr(camera, field), getattr(expected, field), atol=1e-9)


@pytest.mark.parametrize("section", ["cam_{}", "cameras.{}"])
@pytest.mark.parametrize("vector", [True, False])
def test_caliscopes_own_files_are_read(tmp_path, section, vector):
    file = tmp_path / "config.toml"
    text = "CreationDate = 2023-10-05\n[charuco]\ncolumns = 4\n[stereo_0_1]\n"
    text += "rotation = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]\n"
    for i, camera in enumerate(synthetic.make_cameras()):
        rotation = cv2.Rodrigues(camera.R)[0].ravel() if vector else camera.R
        text += (
            f"[{section.format(i)}]\nport = {i}\nrotation_count = 0\nignore = false\n"
            f"size = {list(camera.image_size)}\nmatrix = {camera.K.tolist()}\n"
            f"distortions = {camera.distortion.tolist()}\ntranslation = {camera.t.tolist()}\n"
            f"rotation = {rotation.tolist()}\n"
        )
    file.write_text(text)
    assert is_calibration(file)
    check_equal(read_calibration(file), ["cam_0", "cam_1", "cam_2", "cam_3"])
    file.write_text(text.replace("ignore = false", "ignore = true", 1))
    whole, unusable = read_cameras(file)
    assert [camera.name for camera in whole] == ["cam_1", "cam_2", "cam_3"]
    assert "to be ignored" in unusable["cam_0"]


@pytest.mark.parametrize("nothing", ["[]", '"null"', None])
@pytest.mark.parametrize("key", ["rotation", "translation", "matrix", "distortions"])
def test_a_camera_that_is_not_calibrated_is_named_beside_the_others(toml, key, nothing):
    lines = toml.read_text().split("\n")
    at = next(i for i, line in enumerate(lines) if line.startswith(key))
    lines[at] = "" if nothing is None else f"{key} = {nothing}"
    toml.write_text("\n".join(lines))
    assert is_calibration(toml)
    whole, unusable = read_cameras(toml)
    assert [camera.name for camera in whole] == ["cam_02", "cam_03", "cam_04"]
    assert unusable == {"cam_01": f"[cam_01]: {key} is missing; the camera is not calibrated."}


def test_a_matrix_that_is_no_rotation_is_refused(toml):
    mirror = "rotation = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]]\n#"
    toml.write_text(toml.read_text().replace("rotation = ", mirror, 1))
    with pytest.raises(LiftjaxError, match=r"\[cam_01\]: the rotation is not a rotation matrix"):
        read_calibration(toml)


@pytest.mark.parametrize(("left", "top"), [(0, 4), (8, 0), (40, 24)])
def test_a_video_of_a_part_of_the_sensor_has_its_own_principal_point(tmp_path, left, top):
    file = tmp_path / "Calib.qca.txt"
    shift = np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
    sensor = [
        dataclasses.replace(camera, K=camera.K + shift) for camera in synthetic.make_cameras()
    ]
    synthetic.write_qca(file, sensor)
    width, height = synthetic.IMAGE_SIZE
    whole = f'<fov_video left="0" top="0" right="{width - 1}" bottom="{height - 1}"/>'
    part = (
        f'<fov_marker left="0" top="0" right="999" bottom="999"/><fov_video left="{left}" '
        f'top="{top}" right="{left + width - 1}" bottom="{top + height - 1}"/>'
    )
    file.write_text(file.read_text().replace(whole, part))
    check_equal(read_calibration(file), [camera.name for camera in sensor])


@pytest.mark.parametrize(
    ("camera", "name", "message"),
    [
        ('active="0" serial="9" model="Miqus Video"', "9", "switched off or not calibrated"),
        ('calibrated="false" serial="9"', "9", "switched off or not calibrated"),
        ('active="1" serial="9"', "9", "<intrinsic> is missing; the camera is not calibrated"),
        ('active="1"', "number 1", "no serial number"),
    ],
)
def test_qualisys_cameras_without_calibration_are_named(tmp_path, camera, name, message):
    file = tmp_path / "Calib.qca.txt"
    synthetic.write_qca(file, synthetic.make_cameras())
    file.write_text(file.read_text().replace("<cameras>", f"<cameras><camera {camera}/>"))
    whole, unusable = read_cameras(file)
    assert [c.name for c in whole] == ["cam_01", "cam_02", "cam_03", "cam_04"]
    assert list(unusable) == [name]
    assert message in unusable[name]
