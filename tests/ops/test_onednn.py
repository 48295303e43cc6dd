"""The calls of oneDNN against XLA in float64, and where they are not used."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftjax.ops import onednn
from liftjax.ops.batch_norm import ACTIVATIONS, batch_norm
from liftjax.ops.conv import conv
from liftjax.ops.conv_plain import conv_plain
from liftjax.ops.depthwise import depthwise_conv

pytestmark = pytest.mark.skipif(
    not onednn.usable(jnp.float32), reason="oneDNN cannot be called here"
)

ROUNDING = 1e-5  # as a share of the largest number; measured with AVX2: at most 1.5e-6


def largest_error(function, exact, *arrays):
    """Of value and gradients, as a share of the largest number; `exact` is computed in float64."""

    def both(f, *arrays):
        y, pull = jax.vjp(f, *arrays)
        weights = np.random.default_rng(1).normal(size=y.shape)
        return (y, *pull(jnp.asarray(weights, y.dtype)))

    found = jax.jit(both, static_argnums=0)(function, *arrays)
    with jax.enable_x64(True):
        wide = [jnp.asarray(array, jnp.float64) for array in arrays]
        wanted = jax.jit(both, static_argnums=0)(exact, *wide)
    pairs = [[np.asarray(v, np.float64) for v in pair] for pair in zip(found, wanted, strict=True)]
    assert all(a.shape == b.shape for a, b in pairs)
    return max(np.abs(a - b).max() / (np.abs(b).max() or 1) for a, b in pairs if b.size)


@st.composite
def convolutions(draw):
    small = st.integers(1, 3)
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    dilation = draw(small), draw(small)
    reach = [d * (n - 1) + 1 for n, d in zip((rows, columns), dilation, strict=True)]
    padding = [draw(st.integers(0, n - 1)) for n in reach]
    height, width = (
        draw(st.integers(max(1, n - 2 * p), 14)) for n, p in zip(reach, padding, strict=True)
    )
    channels = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    x, kernel = (draw(small), height, width, channels[0]), (rows, columns, *channels)
    return x, kernel, (draw(small), draw(small)), tuple(padding), dilation


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(convolutions())
def test_convolutions(case):
    x, kernel, *geometry = case
    arrays = random(x), random(kernel, 1)
    error = largest_error(
        lambda *a: conv(*a, *geometry), lambda *a: conv_plain(*a, *geometry), *arrays
    )
    assert error < ROUNDING


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(1, 7), st.integers(1, 40), st.integers(7, 14))
def test_depthwise_convolutions(size, channels, height):
    padding = (size // 2,) * 2
    arrays = (
        random((2, height, 9, channels)),
        random((size, size, 1, channels), 1),
    )

    def exact(x, kernel):
        return conv_plain(x, kernel, (1, 1), padding, (1, 1), channels)

    error = largest_error(lambda *a: depthwise_conv(*a, padding), exact, *arrays)
    assert error < ROUNDING


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(1, 7), max_size=2), st.integers(1, 100),
    st.sampled_from(list(ACTIVATIONS)), st.booleans(),
)  # fmt: skip
def test_batch_norm(rows, channels, activation, has_shortcut):
    shape = (8, *rows, channels)
    x, shortcut = 3 + 2 * random(shape), random(shape, 1)
    scale, bias = random(channels, 2), random(channels, 3)

    def layer(x, scale, bias, *shortcut):
        more = {"shortcut": shortcut[0]} if shortcut else {}
        return batch_norm(x, scale, bias, 1e-5, activation=activation, **more)[0]

    arrays = (x, scale, bias, *[shortcut][: int(has_shortcut)])
    assert largest_error(layer, layer, *arrays) < ROUNDING


def chain(x, kernel):
    y = conv(x, kernel, (1, 1), (1, 1), (1, 1))
    return batch_norm(y, jnp.ones(4), jnp.zeros(4), 1e-5, activation="relu")[0]


ARRAYS = random((2, 8, 6, 4)), 0.2 * random((3, 3, 4, 4), 1)


def test_calls_are_in_programs_that_run_here_and_not_in_exported_ones():
    assert "@liftjax_conv" in jax.jit(chain).lower(*ARRAYS).as_text()
    for platforms in (["cpu"], ["cpu", "cuda", "tpu"]):
        text = jax.export.export(jax.jit(chain), platforms=platforms)(*ARRAYS).mlir_module()
        assert "@liftjax" not in text
    with jax.enable_x64(True):
        wide = [array.astype(jnp.float64) for array in ARRAYS]
        assert "@liftjax" not in jax.jit(chain).lower(*wide).as_text()


def test_not_a_number_comes_through():
    x, kernel = ARRAYS
    assert np.isnan(jax.jit(chain)(x.at[0, 3, 3, 1].set(jnp.nan), kernel)).all()


def test_functions_are_mapped_over_an_axis():
    x, kernel = ARRAYS
    together = jax.vmap(chain, in_axes=(0, None))(jnp.stack([x, 2 * x]), kernel)
    for mapped, scale in zip(together, (1, 2), strict=True):
        np.testing.assert_allclose(mapped, chain(scale * x, kernel), rtol=1e-5, atol=1e-5)


def test_several_threads_may_call():
    programs = [jax.jit(lambda x, k, n=n: chain(x * n, k) ** 2) for n in range(1, 9)]
    alone = [program(*ARRAYS) for program in programs]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: programs[n % 8](*ARRAYS), range(400)))
    for n, y in enumerate(found):
        np.testing.assert_array_equal(y, alone[n % 8])


def in_a_new_process(code: str, **environment: str) -> str:
    environment = os.environ | {"JAX_PLATFORMS": "cpu"} | environment
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_can_be_switched_off():
    code = (
        "from liftjax.ops import onednn, onednn_build; import numpy as np;"
        "print(onednn.usable(np.dtype('float32')), onednn_build.describe())"
    )
    assert in_a_new_process(code, LIFTJAX_ONEDNN="off") == "False no: LIFTJAX_ONEDNN=off\n"
    assert in_a_new_process(code).startswith("True onednn")


FORK = """
import os
import jax, jax.numpy as jnp, numpy as np
from liftjax.ops.conv import conv
program = jax.jit(lambda x, k: conv(x, k, (1, 1), (1, 1), (1, 1)))
arrays = jnp.ones((2, 8, 6, 4)), jnp.ones((3, 3, 4, 4))
before = np.asarray(program(*arrays))
child = os.fork()
after = np.asarray(program(*arrays))
if not child:
    os._exit(int((after != before).any()))
print(os.waitpid(child, 0)[1], (after == before).all())
"""


def test_a_forked_process_may_call():
    assert in_a_new_process(FORK) == "0 True\n"
