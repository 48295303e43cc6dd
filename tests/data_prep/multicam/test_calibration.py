import numpy as np
import pytest

from data_prep.multicam.calibration import is_calibration, read_calibration
from liftjax.errors import LiftjaxError
from tests.data_prep.multicam import synthetic_recording as synthetic


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
    (("fisheye = false", "fisheye = true"), r"\[cam_01\]: a fisheye camera"),
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
