"""Heads: each is what its networks give, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from liftjax import create_detector, geometry, skeletons
from liftjax.detectors.spec import HeatmapOutput, SimCCOutput
from liftjax.errors import LiftjaxError
from liftjax.interchange import programs
from liftjax.interchange.programs import Decoding
from tests.interchange.networks import CLIPS, LIFTER_SIZES, network
from tests.slow import slow


def run(program, batch=2):
    inputs = program.examples(np.random.default_rng(0), batch)
    for port, values in zip(program.inputs, inputs, strict=True):
        assert values.shape == (batch, *port.shape[1:])
        assert values.dtype == port.dtype
    outputs = jax.jit(program.function)(program.weights, *inputs)
    for port, values in zip(program.outputs, outputs, strict=True):
        assert values.shape == (batch, *port.shape[1:])
        assert values.dtype == port.dtype
        assert np.isfinite(values).all()
    return inputs, outputs


@pytest.mark.parametrize("name", ["hrnet_tiny", slow("rtmpose_tiny")])
def test_maps_and_keypoints(name):
    detector = network(name)
    (image,), (keypoints, scores) = run(programs.detector_program(detector))
    maps = programs.detector_program(detector, "maps")
    normalized = detector.spec.normalize(jnp.asarray(image))
    kind = {"heatmap": HeatmapOutput, "simcc": SimCCOutput}[detector.spec.kind]
    out = kind(*jax.jit(maps.function)(maps.weights, normalized))
    for port, values in zip(maps.outputs, out, strict=True):
        assert values.shape[1:] == port.shape[1:]
    np.testing.assert_allclose(keypoints, detector.decode(out), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(scores, out.scores(), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_poses_are_lifts_of_keypoints_in_the_picture():
    """The joints of whole-body detectors are converted to the lifter's."""
    detector, lifter = network("dwpose_t"), network("mixste")
    chain = programs.detector_program(detector, "poses", lifters={"mixste": lifter})
    (image, affine, size), (keypoints, scores, pose) = run(chain)
    alone = programs.detector_program(detector)
    kpts_crop, wanted_scores = jax.jit(alone.function)(alone.weights, image)
    kpts_px = geometry.apply_affine(jnp.asarray(affine), kpts_crop)
    np.testing.assert_allclose(keypoints, kpts_px, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-5, atol=1e-5)
    joints = skeletons.convert(keypoints, "wholebody", "human36m")
    wanted = jax.jit(lambda *arrays: lifter.lift(*arrays))(joints[:, None], size)[:, 0]
    np.testing.assert_allclose(pose, wanted, rtol=1e-4, atol=1e-5)
    assert [port.name for port in chain.outputs] == ["keypoints", "scores", "pose_mixste"]


@pytest.mark.parametrize("name", LIFTER_SIZES)
def test_lifters_alone(name):
    frames = CLIPS.get(name, 1)
    lifter = network(name, frames)
    program = programs.lifter_program(lifter)
    (keypoints, size), (poses,) = run(program)
    wanted = jax.jit(lambda *arrays: lifter.lift(*arrays))(keypoints, size)
    np.testing.assert_allclose(poses, wanted, rtol=1e-4, atol=1e-5)
    first = program.facts["frames"]["first_given_is_frame"]
    assert first == (4 if name == "videopose3d" else 0)


@pytest.mark.slow
def test_rtmlib_gets_the_colours_right():
    """rtmlib subtracts the mean of red from blue; the program undoes it."""
    detector = network("rtmpose_tiny")
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (1, *detector.spec.image_size, 3), dtype=np.uint8)
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    fed = ((rgb[..., ::-1] - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2)
    program = programs.detector_program(detector, "rtmlib")
    found = jax.jit(program.function)(program.weights, fed.astype(np.float32))
    maps = programs.detector_program(detector, "maps")
    wanted = jax.jit(maps.function)(maps.weights, detector.spec.normalize(jnp.asarray(rgb)))
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert [port.name for port in program.outputs] == ["simcc_x", "simcc_y"]
    assert "backend='onnxruntime'" in program.facts["rtmlib"]
    (example,) = program.examples(np.random.default_rng(0), 2)
    assert (example.shape[1:], example.dtype) == (program.inputs[0].shape[1:], np.float32)


def test_decoding_is_the_recipes():
    recipe = {"loss": {"beta": 30.0, "normalizer": "relu", "quarter_pixel_shift": True}}
    assert Decoding.of_recipe({}) == Decoding(100.0, "softmax", False)
    assert Decoding.of_recipe(recipe) == Decoding(30.0, "relu", True)
    assert Decoding.of_recipe(recipe, 50).beta == 50


def test_what_is_refused():
    hrnet, lifter = network("hrnet_tiny"), network("mixste")

    def refused(match, *args, **kw):
        with pytest.raises(LiftjaxError, match=match) as error:
            programs.detector_program(*args, **kw)
        assert "\n" not in str(error.value)

    refused("did you mean 'poses'", hrnet, "pose")
    refused("is for SimCC detectors", hrnet, "rtmlib")
    refused("needs a lifter behind", hrnet, "poses")
    refused("has no lifters behind", hrnet, "maps", lifters={"mixste": lifter})
    refused("a picture is one", hrnet, "poses", lifters={"mixste": network("mixste", 3)})
    with pytest.raises(LiftjaxError, match="one of detectors"):
        programs.lifter_program(lifter, "maps")

    def joints(**kw):
        return nnx.eval_shape(lambda: create_detector("hrnet_tiny", rngs=nnx.Rngs(0), **kw))

    nameless, panoptic = joints(num_joints=17), joints(skeleton="panoptic")
    refused("no names", nameless, "poses", lifters={"mixste": lifter})
    refused("No conversion panoptic", panoptic, "poses", lifters={"mixste": lifter})
