"""rtmlib, as it comes from PyPI, with a file of ours.

It asks for two OpenCV packages that overwrite the one used here; install it alone:
pip install --no-deps rtmlib
"""

import cv2
import jax
import numpy as np
import pytest

from liftjax import geometry
from liftjax.interchange import programs
from tests.interchange.networks import network

rtmlib = pytest.importorskip("rtmlib")
pytest.importorskip("jax2onnx")

from liftjax.interchange import onnx_file  # noqa: E402


@pytest.mark.parametrize("box", [(130, 20, 250, 190), (-20, 60, 90, 215)])
def test_rtmlib_finds_the_keypoints_that_we_find(tmp_path, box):
    """A picture as cv2 reads it, a box off its centre: the argmax of our maps, within 0.5 px."""
    detector = network("rtmpose_tiny")
    height, width = detector.spec.image_size
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (11, 16, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), cv2.resize(coarse, (320, 220)))
    picture_bgr = cv2.imread(str(tmp_path / "a.png"))
    path = tmp_path / "a.onnx"
    onnx_file.write(path, programs.detector_program(detector, "rtmlib"), "rtmpose")

    pose = rtmlib.RTMPose(str(path), model_input_size=(width, height), backend="onnxruntime")
    found_1K2, _ = pose(picture_bgr, bboxes=[list(box)])

    affine = geometry.crop_affine(np.array(box, np.float64), (height, width))
    crop = cv2.warpAffine(picture_bgr, affine, (width, height), flags=cv2.INTER_LINEAR)
    maps = programs.detector_program(detector, "maps")
    image = detector.spec.normalize(crop[None, ..., ::-1].copy())
    vectors = jax.jit(maps.function)(maps.weights, image)
    bins_K2 = np.stack([np.argmax(vector[0], -1) for vector in vectors], -1)
    wanted_K2 = geometry.apply_affine(
        geometry.invert_affine(affine), bins_K2 * detector.spec.stride
    )
    assert len(np.unique(bins_K2, axis=0)) > 5
    np.testing.assert_allclose(found_1K2[0], wanted_K2, atol=0.5)
