"""Programs for accelerators, written on a machine that has none: they lower, and multiply right.

Accelerators multiply float32 with operands rounded to ten bits or fewer unless told otherwise. What
carries coordinates must be told; the detector, where the arithmetic is, must not.
"""

import itertools
import re

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from liftjax.benchmark.problem import random_batch
from liftjax.nn.layers import compile_for, rematerialise, synchronize
from liftjax.ops import soft_argmax
from liftjax.registry import create_detector
from liftjax.runtime.replicas import AXIS, Replicas
from liftjax.runtime.state import PureModule
from liftjax.training.detector_step import GuidanceOptions, make_train_step
from tests.lifters.small import SMALL, build
from tests.slow import one_in, slow

ACCELERATORS = ("tpu", "cuda")
DETECTORS = {
    "hrnet_tiny": {"image_size": (64, 64), "blocks": 2},
    "rtmpose_tiny": {"image_size": (64, 64)},
}


def detector(name: str, remat: bool = False) -> nnx.Module:
    module = create_detector(name, skeleton="human36m", rngs=nnx.Rngs(0), **DETECTORS[name])
    synchronize(module, AXIS)
    rematerialise(module, remat)
    compile_for(module, "tpu")
    return module


@pytest.fixture(scope="module")
def lifters():
    return [build(name) for name in SMALL]


def placed(tree, mesh, spec, rows=None):
    """Shapes of the arrays of `tree`, spread over `mesh`; `rows` instead of the leading axis."""

    def shape(leaf):
        aval = jax.typeof(leaf)
        sizes = aval.shape if rows is None else (rows, *aval.shape[1:])
        return jax.ShapeDtypeStruct(sizes, aval.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree.map(shape, tree)


def exported(module, lifters, devices: int, precision: str, platforms) -> jax.export.Exported:
    """The guided training step over `devices` replicas, for machines that are not there."""
    mesh = AbstractMesh((devices,), (AXIS,))
    problem = make_train_step(module, lifters, options=GuidanceOptions(dtype=precision))
    everywhere, rows = PartitionSpec(), PartitionSpec(AXIS)
    step = Replicas(mesh).map_step(problem.step)
    return jax.export.export(step, platforms=platforms)(
        placed(problem.state, mesh, everywhere),
        placed(problem.frozen, mesh, everywhere),
        placed(random_batch(module.spec, 1), mesh, rows, rows=2 * devices),
        placed(problem.hyper, mesh, everywhere),
    )


@pytest.mark.parametrize(
    ("devices", "name", "precision"),
    one_in(8, itertools.product((8, 1), DETECTORS, ("bfloat16", "float32"))),
)
def test_the_guided_step_lowers(name, devices, precision, lifters):
    remat = precision == "bfloat16"
    program = exported(detector(name, remat), lifters, devices, precision, ACCELERATORS)
    assert program.platforms == ACCELERATORS
    assert program.nr_devices == devices
    text = program.mlir_module()
    assert text.count("stablehlo.all_reduce") > 0
    assert ("bf16" in text) == (precision == "bfloat16")


@pytest.mark.parametrize("name", DETECTORS)
def test_prediction_lowers(name, lifters):
    module = detector(name)
    pure, *weights = PureModule.split(module)

    def predict(weights, batch):
        merged = pure.merge(*weights)
        return merged.decode(merged(module.spec.normalize(batch["image_u8"])))

    mesh = AbstractMesh((8,), (AXIS,))
    arguments = (
        placed(weights, mesh, PartitionSpec()),
        placed(random_batch(module.spec, 1), mesh, PartitionSpec(AXIS), rows=16),
    )
    program = jax.export.export(Replicas(mesh).map_predict(predict), platforms=ACCELERATORS)
    (kpts,) = program(*arguments).out_avals
    assert kpts.shape == (16, 17, 2)


@pytest.mark.parametrize("normalizer", soft_argmax.NORMALIZERS)
def test_soft_argmax_lowers(normalizer):
    def both(heat, logits, beta):
        xy = soft_argmax.soft_argmax_2d(heat, beta, normalizer)
        return xy.sum() + soft_argmax.soft_argmax_1d(logits, beta, normalizer).sum()

    for dtype in (jnp.float32, jnp.bfloat16):
        shapes = [jax.ShapeDtypeStruct(s, dtype) for s in ((2, 96, 72, 17), (2, 17, 576))]
        beta = jax.ShapeDtypeStruct((), jnp.float32)
        graded = jax.jit(jax.value_and_grad(both, argnums=(0, 1, 2)))
        text = jax.export.export(graded, platforms=ACCELERATORS)(*shapes, beta).mlir_module()
        assert not products(text)  # sums, which nothing rounds


def products(text: str) -> list[tuple[str, str]]:
    """(precision, type of the operands) of every product and convolution of a program."""
    found = []
    for line in text.splitlines():
        if not re.search(r"stablehlo\.(dot_general|convolution)\b", line):
            continue
        named = re.findall(r"\b(?:HIGHEST|HIGH)\b", line)
        assert len(named) in (0, 2), line
        assert len(set(named)) <= 1, line
        operands = re.search(r": \((tensor<\S+>), (tensor<\S+>)\) ->", line).groups()
        dtypes = {re.search(r"(\w+)>$", operand)[1].rpartition("x")[2] for operand in operands}
        assert len(dtypes) == 1, line
        found.append((named[0] if named else "DEFAULT", dtypes.pop()))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", one_in(2, DETECTORS))
def test_coordinates_are_multiplied_in_full_float32_and_pictures_are_not(name, lifters):
    """In bfloat16 the two halves of the program are told apart by their types."""
    module = detector(name)
    narrow = products(exported(module, lifters, 1, "bfloat16", ("tpu",)).mlir_module())
    # One pass multiplies bfloat16 exactly, and a form that also copies float32 asks for no less.
    in_full = set(narrow) - {("HIGHEST", "bf16")}
    assert in_full == {("HIGHEST", "f32"), ("HIGH", "f32"), ("DEFAULT", "bf16")}
    wide = products(exported(module, lifters, 1, "float32", ("tpu",)).mlir_module())
    assert set(wide) == {("HIGHEST", "f32"), ("DEFAULT", "f32")}
    for kinds in ({"HIGHEST", "HIGH"}, {"DEFAULT"}):
        counts = [sum(found in kinds for found, _ in program) for program in (narrow, wide)]
        assert counts[0] == counts[1] > 0


@pytest.mark.parametrize(
    ("precision", "inner"),
    [("high", ("HIGH", "f32")), ("default", ("DEFAULT", "f32")), ("bfloat16", ("DEFAULT", "bf16"))],
)
@pytest.mark.parametrize("name", SMALL)
def test_a_lifter_multiplies_features_as_told_and_coordinates_in_full(name, precision, inner):
    pure, *weights = PureModule.split(build(name))

    def lift(kpts_px, weights):
        sizes = jnp.full((len(kpts_px), 2), 1000.0)
        return pure.merge(*weights).lift(kpts_px, sizes, precision=precision).sum()

    kpts_px = jax.ShapeDtypeStruct((4, 1, 17, 2), jnp.float32)
    exported = jax.export.export(jax.jit(jax.grad(lift)), platforms=("tpu",))
    found = products(exported(kpts_px, weights).mlir_module())
    assert set(found) == {("HIGHEST", "f32"), inner}
    # The first layers forwards and backwards; the last layer, which is linear, backwards.
    assert found.count(("HIGHEST", "f32")) == (9 if name == "iganet" else 3)


@pytest.mark.parametrize("frames", [1, slow(9)])
def test_lifters_go_back_in_full_float32(frames):
    """Also where a derivative is written by hand, and traced when the call is long over."""
    for name in SMALL:
        widths = {"filter_widths": (3, 3)} if (name, frames) == ("videopose3d", 9) else {}
        pure, *weights = PureModule.split(build(name, num_frames=frames, **widths))

        def loss(kpts_px, weights, pure=pure):
            sizes = jnp.full((len(kpts_px), 2), 1000.0)
            return pure.merge(*weights).lift(kpts_px, sizes, train=True).sum()

        kpts_px = jax.ShapeDtypeStruct((4, frames, 17, 2), jnp.float32)
        graded = jax.jit(jax.grad(loss, argnums=(0, 1)))
        text = jax.export.export(graded, platforms=("tpu",))(kpts_px, weights).mlir_module()
        assert {precision for precision, _ in products(text)} == {"HIGHEST"}, name
