"""Soft-argmax: the expected coordinate of a heatmap or of a SimCC vector, differentiable.

    coordinate = sum_i p_i i,    p = softmax(beta h)    or    p = relu(h) / sum relu(h)

Coordinates are indices into the map, in float32 or wider whatever the input. `beta` may be traced
and has a derivative; with the ReLU normaliser it has no effect. Entries of -inf are masked out. A
map that is all -inf, or for ReLU has nothing positive, gives its centre and no gradient. NaN and
+inf give NaN.

Each function comes twice with one signature. The default has a derivative written by hand, which
keeps the map itself and a few numbers a map where JAX would keep the probabilities and more. The
`_plain` twin is the formula: the reference in tests, and what is exported.

The sums over a map are computed by XLA ("xla") or, on NVIDIA's GPUs, by a kernel that reads the map
once ("pallas"). By default ("auto") the kernel is used where it can run.

Legend: B batch, K joints, H x W map, X vector.
"""

from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import entry_points

import jax
import jax.numpy as jnp

from liftjax.errors import check_name
from liftjax.ops import map_statistics as maps
from liftjax.ops import map_statistics_gpu
from liftjax.ops.map_statistics import Statistics, Target
from liftjax.ops.numerics import at_least_float32

NORMALIZERS = ("softmax", "relu")
DEFAULT = "auto"


def _auto(values, beta, axes, normalizer, target=None) -> Statistics:
    def found_by(statistics):
        return lambda values, beta, target: statistics(values, beta, axes, normalizer, target)

    xla, kernel = found_by(maps.two_passes), found_by(map_statistics_gpu.one_pass)
    if not _kernel_can_run():
        return xla(values, beta, target)
    return jax.lax.platform_dependent(values, beta, target, cuda=kernel, default=xla)


@cache
def _kernel_can_run() -> bool:
    """Whether JAX can use NVIDIA's GPUs, and those of this machine can run Triton's kernels.

    They need compute capability 8 (A100) or later.
    """
    if not any("cuda" in plugin.name for plugin in entry_points(group="jax_plugins")):
        return False
    gpus = jax.local_devices() if jax.default_backend() == "gpu" else []
    return all(float(gpu.compute_capability) >= 8 for gpu in gpus)


# By name of the implementation.
STATISTICS = {"auto": _auto, "xla": maps.two_passes, "pallas": map_statistics_gpu.one_pass}


def names(platform: str) -> tuple[str, ...]:
    """The implementations that "cpu", "gpu" or "tpu" can run; "plain" is the formula."""
    return ("plain", "xla", "pallas") if platform == "gpu" else ("plain", "xla")


def soft_argmax_2d(
    heat_BHWK: jax.Array,
    beta: jax.Array | float = 100.0,
    normalizer: str = "softmax",
    implementation: str = DEFAULT,
) -> jax.Array:
    """Expected positions (B, K, 2) as (x, y) in heatmap pixels, float32 or wider; differentiable.

    The sum of p_i times the position of pixel i, p = softmax(beta h) or relu(h) / sum relu(h)
    ("Integral human pose regression", Sun et al., ECCV 2018; beta: the paper's Table 6).

    Args:
      heat_BHWK: heatmaps, any floating dtype.
      beta: sharpness of the softmax; a number or a traced scalar.
      normalizer: "softmax" or "relu".
      implementation: "auto", "xla" or "pallas" (see above).

    Raises:
      LiftjaxError: an unknown normalizer or implementation.
      ValueError: the heatmaps do not have four axes.
      TypeError: the heatmaps are not floating.
    """
    return _soft_argmax_2d(partial(_expected, implementation), heat_BHWK, beta, normalizer)


def soft_argmax_1d(
    logits: jax.Array,
    beta: jax.Array | float = 100.0,
    normalizer: str = "softmax",
    implementation: str = DEFAULT,
) -> jax.Array:
    """Expected indices (...) along the last axis of logits (..., X), in bins; differentiable.

    As :func:`soft_argmax_2d`, of a vector.

    Args:
      logits: floating array, for SimCC (B, K, X).
      beta: sharpness of the softmax; a number or a traced scalar.
      normalizer: "softmax" or "relu".
      implementation: "auto", "xla" or "pallas" (see above).

    Raises:
      LiftjaxError: an unknown normalizer or implementation.
      TypeError: the logits are not floating.
    """
    return _soft_argmax_1d(partial(_expected, implementation), logits, beta, normalizer)


def soft_argmax_2d_plain(
    heat_BHWK: jax.Array, beta: jax.Array | float = 100.0, normalizer: str = "softmax"
) -> jax.Array:
    """:func:`soft_argmax_2d` as the formula reads, differentiated by JAX."""
    return _soft_argmax_2d(_expected_plain, heat_BHWK, beta, normalizer)


def soft_argmax_1d_plain(
    logits: jax.Array, beta: jax.Array | float = 100.0, normalizer: str = "softmax"
) -> jax.Array:
    """:func:`soft_argmax_1d` as the formula reads, differentiated by JAX."""
    return _soft_argmax_1d(_expected_plain, logits, beta, normalizer)


IMPLEMENTATIONS: dict[str, Callable[..., jax.Array]] = {
    "plain": soft_argmax_2d_plain,
    **{name: partial(soft_argmax_2d, implementation=name) for name in STATISTICS},
}
IMPLEMENTATIONS_1D: dict[str, Callable[..., jax.Array]] = {
    "plain": soft_argmax_1d_plain,
    **{name: partial(soft_argmax_1d, implementation=name) for name in STATISTICS},
}


def _soft_argmax_2d(expected, heat_BHWK, beta, normalizer):
    if heat_BHWK.ndim != 4:
        raise ValueError(f"Expected heatmaps of shape (B, H, W, K), not {heat_BHWK.shape}.")
    return as_points(expected(heat_BHWK, check(heat_BHWK, beta, normalizer), (1, 2), normalizer))


def _soft_argmax_1d(expected, logits, beta, normalizer):
    beta = check(logits, beta, normalizer)
    (x,) = expected(logits, beta, (logits.ndim - 1,), normalizer)
    return x[..., 0]


def check(values: jax.Array, beta: jax.Array | float, normalizer: str) -> jax.Array:
    """beta in the type of the computation; raises if the arguments are wrong."""
    check_name("normalizer", normalizer, NORMALIZERS)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise TypeError(f"Soft-argmax needs a floating array, not {values.dtype}.")
    return jnp.asarray(beta, jnp.promote_types(values.dtype, jnp.float32))


def as_points(coordinates: list[jax.Array]) -> jax.Array:
    """(B, K, 2) as (x, y) from y and x of shape (B, 1, 1, K)."""
    y_BK, x_BK = (coordinate[:, 0, 0] for coordinate in coordinates)
    return jnp.stack([x_BK, y_BK], axis=-1)


def _expected(implementation, values, beta, axes, normalizer):
    return expectation(values, beta, None, axes, normalizer, implementation)[0]


def _expected_plain(values, beta, axes, normalizer):
    values = at_least_float32(values)
    top = maps.safe_top(jax.lax.stop_gradient(values.max(axes, keepdims=True)), normalizer)
    weights = maps.weights(values, top, beta, normalizer)
    total = weights.sum(axes, keepdims=True)
    positions = maps.positions(values, axes)
    sums = [(weights * position).sum(axes, keepdims=True) for position in positions]
    return maps.means(Statistics(top, total, sums, None), values, axes)[0]


# With q the unnormalised weights, s their sum, c the positions and x = sum q c / s:
#     dx / dh_i = (dq_i / dh_i) (c_i - x) / s


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def expectation(
    values: jax.Array,
    beta: jax.Array,
    target: Target | None,
    axes: tuple[int, ...],
    normalizer: str,
    implementation: str,
) -> tuple[list[jax.Array], jax.Array | None]:
    """Coordinates along `axes`, and the sum of squared differences from the target (or None).

    Both have size 1 along `axes`. There is no gradient with respect to the target.
    """
    return _forward(values, beta, target, axes, normalizer, implementation)[0]


def _forward(values, beta, target, axes, normalizer, implementation):
    check_name("implementation of soft-argmax", implementation, STATISTICS)
    found = STATISTICS[implementation](values, beta, axes, normalizer, target)
    means, inverse = maps.means(found, values, axes)
    return (means, found.squares), (values, beta, target, found.top, inverse, means)


def _backward(axes, normalizer, implementation, saved, grads):
    values, beta, target, top, inverse, means = saved
    grad_means, grad_squares = grads
    wide = at_least_float32(values)
    # Differences first: next to the peak, where the weights are, they are small.
    pull = sum(
        (position - mean) * (grad * inverse)
        for position, mean, grad in zip(maps.positions(wide, axes), means, grad_means, strict=True)
    )
    if normalizer == "relu":
        grad, grad_beta = jnp.where(wide > 0, pull / top, 0), jnp.zeros_like(beta)
    else:
        moved = maps.weights(wide, top, beta, normalizer) * pull
        grad, grad_beta = beta * moved, (moved * maps.below(wide, top)).sum()
    if target is not None:
        grad += 2 * grad_squares * (wide - target.map())
    return grad.astype(values.dtype), grad_beta, jax.tree.map(jnp.zeros_like, target)


expectation.defvjp(_forward, _backward)
