import itertools

import jax
import numpy as np
import pytest

from liftjax import torch_weights
from liftjax.errors import LiftjaxError
from liftjax.lifters.videopose3d import resolve_widths
from tests.lifters.small import build, forward
from tests.slow import one_in


@pytest.mark.parametrize(
    "options",
    [
        {"filter_widths": (3, 3)},
        {"filter_widths": (3, 5)},
        {"filter_widths": (3, 3), "causal": True},
        {"filter_widths": (3, 3), "dense": True},
        {"filter_widths": (1, 1, 1)},
    ],
)
def test_output_frame_depends_on_exactly_its_field(options):
    lifter = build("videopose3d", **options)
    field = lifter.spec.receptive_field
    assert field == np.prod(options["filter_widths"])
    frames = field + 4
    x = jax.random.normal(jax.random.key(0), (1, frames, 17, 2))
    assert jax.eval_shape(lifter, x).shape == (1, 5, 17, 3)
    jacobian = jax.jit(jax.jacrev(lambda x: lifter(x)[0].sum((1, 2))))(x)
    for t, reached in enumerate(np.any(jacobian, axis=(1, 3, 4))):
        np.testing.assert_array_equal(np.flatnonzero(reached), np.arange(t, t + field))


def test_causal_shortcut_follows_the_last_frame():
    """With the convolutions of the blocks at zero only the shortcut is left."""
    for causal, frame in ((False, 4), (True, 7)):
        lifter = build("videopose3d", filter_widths=(3, 3), causal=causal)
        for conv in lifter.layers_conv:
            conv.kernel[...] *= 0
        x = jax.random.normal(jax.random.key(0), (1, 9, 17, 2))
        gradient = jax.jit(jax.grad(lambda x, lifter=lifter: lifter(x).sum()))(x)
        reached = np.flatnonzero(np.any(gradient, axis=(0, 2, 3)))
        np.testing.assert_array_equal(reached, [frame - 1, frame, frame + 1])


def test_long_clip_is_its_windows():
    lifter = build("videopose3d", filter_widths=(3, 3))
    x = jax.random.normal(jax.random.key(0), (2, 12, 17, 2))
    windows = np.concatenate([forward(lifter, x[:, t : t + 9]) for t in range(4)], axis=1)
    np.testing.assert_allclose(forward(lifter, x), windows, atol=1e-6)


def test_too_short_a_clip_is_refused():
    lifter = build("videopose3d", filter_widths=(3, 3))
    with pytest.raises(LiftjaxError, match="receptive field of 9"):
        lifter(np.zeros((1, 8, 17, 2), np.float32))


@pytest.mark.parametrize(
    ("widths", "causal"),
    one_in(3, itertools.product([(3, 3), (3, 1, 5), (1, 1, 1), (5,)], [False, True])),
)
def test_strided_equals_dilated_on_every_field(widths, causal):
    dilated = build("videopose3d", filter_widths=widths, causal=causal)
    strided = build("videopose3d", filter_widths=widths, causal=causal, strided=True)
    torch_weights.load(strided, torch_weights.dump(dilated))
    field = dilated.spec.receptive_field
    assert strided.spec.num_frames == strided.spec.receptive_field == field
    x = jax.random.normal(jax.random.key(0), (2, 3 * field, 17, 2))
    found = forward(strided, x)
    assert found.shape == (2, 3, 17, 3)
    np.testing.assert_allclose(found, forward(dilated, x)[:, ::field], atol=1e-6)


def test_strided_takes_whole_fields():
    lifter = build("videopose3d", filter_widths=(3, 3), strided=True)
    for frames in (8, 10):
        with pytest.raises(LiftjaxError, match=f"fields of 9 frames, and {frames}"):
            lifter(np.zeros((1, frames, 17, 2), np.float32))
    with pytest.raises(LiftjaxError, match="receptive field of 9"):
        lifter(np.zeros((1, 0, 17, 2), np.float32))
    with pytest.raises(LiftjaxError, match="fields of 9 frames, and 10"):
        build("videopose3d", num_frames=10, filter_widths=(3, 3), strided=True)
    with pytest.raises(LiftjaxError, match="dense or strided"):
        build("videopose3d", strided=True, dense=True)


def test_widths_follow_from_the_frames():
    of = {n: resolve_widths(n, None) for n in (1, 3, 7, 9, 27, 45, 81, 243)}
    assert of[1] == (1, 1, 1)
    assert {n: w for n, w in of.items() if n in (3, 9, 27, 81, 243)} == {
        3**i: (3,) * i for i in range(1, 6)
    }
    assert (of[7], of[45]) == ((7,), (3, 3, 5))
    spec = build("videopose3d", num_frames=9, filter_widths=None).spec
    assert (spec.num_frames, spec.receptive_field) == (9, 9)
    with pytest.raises(LiftjaxError, match="even number"):
        build("videopose3d", num_frames=16, filter_widths=None)


def test_given_widths_win():
    frames = {1: 9, 9: 9, 12: 12}
    for given, expected in frames.items():
        spec = build("videopose3d", num_frames=given, filter_widths=(3, 3)).spec
        assert (spec.num_frames, spec.receptive_field) == (expected, 9)
    with pytest.raises(LiftjaxError, match="num_frames=3 is fewer than the receptive field"):
        build("videopose3d", num_frames=3, filter_widths=(3, 3))


def test_even_widths_are_refused():
    with pytest.raises(LiftjaxError, match="odd"):
        build("videopose3d", filter_widths=(3, 2))
