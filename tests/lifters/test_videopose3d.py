import jax
import numpy as np
import pytest

from liftjax.errors import LiftjaxError
from tests.lifters.small import build


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
    assert lifter(x).shape == (1, 5, 17, 3)
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
        gradient = jax.grad(lambda x, lifter=lifter: lifter(x).sum())(x)
        reached = np.flatnonzero(np.any(gradient, axis=(0, 2, 3)))
        np.testing.assert_array_equal(reached, [frame - 1, frame, frame + 1])


def test_long_clip_is_its_windows():
    lifter = build("videopose3d", filter_widths=(3, 3))
    x = jax.random.normal(jax.random.key(0), (2, 12, 17, 2))
    windows = np.concatenate([lifter(x[:, t : t + 9]) for t in range(4)], axis=1)
    np.testing.assert_allclose(lifter(x), windows, atol=1e-6)


def test_too_short_a_clip_is_refused():
    lifter = build("videopose3d", filter_widths=(3, 3))
    with pytest.raises(LiftjaxError, match="receptive field of 9"):
        lifter(np.zeros((1, 8, 17, 2), np.float32))


def test_even_widths_are_refused():
    with pytest.raises(LiftjaxError, match="odd"):
        build("videopose3d", filter_widths=(3, 2))
