import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from liftjax import create_detector, torch_weights
from liftjax.errors import LiftjaxError
from liftjax.nn.layers import BatchNorm, Conv, Linear
from tests.goldens import weights
from tests.lifters.small import SMALL, build


class Mixed(nnx.Module):
    """One of each layer that a state_dict knows, and a list with a hole."""

    def __init__(self, rngs):
        self.layers = nnx.List([None, *(BatchNorm(4) for _ in range(11))])
        self.conv = Conv(4, 6, (3, 2), groups=2, rngs=rngs)
        self.free = nnx.Param(jnp.zeros(3))
        self.linear = Linear(4, 5, use_bias=False, rngs=rngs)


def filled(module):
    return {
        key: weights.fill(key, value.shape) for key, value in torch_weights.dump(module).items()
    }


def same(a, b):
    assert list(a) == list(b)
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)
        assert a[key].dtype == b[key].dtype


def test_names_shapes_and_order():
    state = torch_weights.dump(Mixed(nnx.Rngs(0)))
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert list(state) == [
        "free",
        *(f"layers.{i}.{leaf}" for i in range(1, 12) for leaf in norm),
        "conv.weight",
        "conv.bias",
        "linear.weight",
    ]
    assert state["conv.weight"].shape == (6, 2, 3, 2)
    assert state["linear.weight"].shape == (5, 4)
    assert state["layers.1.num_batches_tracked"].dtype == np.int64
    assert state["layers.1.num_batches_tracked"].shape == ()
    assert all(value.flags.c_contiguous and value.flags.writeable for value in state.values())


@pytest.mark.parametrize("name", SMALL)
def test_round_trip(name):
    lifter = build(name)
    state = filled(lifter)
    torch_weights.load(lifter, state)
    same(torch_weights.dump(lifter), state)
    merged = nnx.merge(*nnx.split(lifter))  # has its attributes in another order
    again = torch_weights.dump(merged)
    same({key: again[key] for key in state}, state)


def test_dump_is_a_copy():
    module = Mixed(nnx.Rngs(0))
    torch_weights.dump(module)["free"] += 1
    np.testing.assert_array_equal(module.free[...], 0)


def test_load_copies():
    module, state = Mixed(nnx.Rngs(0)), filled(Mixed(nnx.Rngs(0)))
    torch_weights.load(module, state)
    state["free"] *= 0
    assert np.all(module.free[...] != 0)


def test_misfit_lists_everything_and_changes_nothing():
    module = Mixed(nnx.Rngs(0))
    before, state = torch_weights.dump(module), filled(module)
    del state["free"], state["layers.11.bias"]
    state["conv.weight"] = state["conv.weight"][:5]
    state["extra"] = np.zeros(3)
    with pytest.raises(LiftjaxError) as error:
        torch_weights.load(module, state)
    text = str(error.value)
    assert "2 missing (free, layers.11.bias)" in text
    assert "1 unexpected (extra)" in text
    assert "1 of another shape (conv.weight (5, 2, 3, 2) for (6, 2, 3, 2))" in text
    assert "\n" not in text
    same(torch_weights.dump(module), before)


def test_transposed_weight_is_refused():
    """A square layer apart, a wrong layout never slips through."""
    module = Mixed(nnx.Rngs(0))
    state = filled(module)
    state["linear.weight"] = state["linear.weight"].T
    with pytest.raises(LiftjaxError, match="of another shape"):
        torch_weights.load(module, state)


def test_long_lists_are_cut():
    with pytest.raises(LiftjaxError, match="48 missing") as error:
        torch_weights.load(Mixed(nnx.Rngs(0)), {})
    assert len(str(error.value)) < 400


def test_allowed_exceptions_stay():
    module = Mixed(nnx.Rngs(0))
    before, state = torch_weights.dump(module), filled(module)
    del state["free"]
    state["conv.weight"] = state["conv.weight"][:5]
    state["teacher.weight"] = np.zeros(3)
    torch_weights.load(module, state, allow=["free", "conv.*", "teacher.*"])
    after = torch_weights.dump(module)
    np.testing.assert_array_equal(after["free"], before["free"])
    np.testing.assert_array_equal(after["conv.weight"], before["conv.weight"])
    np.testing.assert_array_equal(after["conv.bias"], state["conv.bias"])
    np.testing.assert_array_equal(after["linear.weight"], state["linear.weight"])


def test_data_parallel_prefix_is_named():
    module = Mixed(nnx.Rngs(0))
    with pytest.raises(LiftjaxError, match=r"strip the prefix 'module\.'"):
        torch_weights.load(module, {f"module.{k}": v for k, v in filled(module).items()})


def test_any_wrappers_prefix_is_named():
    module = Mixed(nnx.Rngs(0))
    with pytest.raises(LiftjaxError, match=r"strip the prefix 'backbone\.'"):
        torch_weights.load(module, {f"backbone.{k}": v for k, v in filled(module).items()})
    with pytest.raises(LiftjaxError, match="check the model's name"):
        torch_weights.load(module, {"a.free": np.zeros(3)})


def test_shapes_need_no_arrays():
    module = Mixed(nnx.Rngs(0))
    abstract = torch_weights.shapes(nnx.eval_shape(lambda: Mixed(nnx.Rngs(0))))
    assert abstract == {k: v.shape for k, v in torch_weights.dump(module).items()}
    assert list(torch_weights.shapes(module)) == list(torch_weights.dump(module))


def test_bare_parameters_of_rtmpose(golden):
    """ScaleNorm's gain, the attention's gain and offset and the scale have names of their own."""
    manifest, _ = golden("rtmpose_m_256x192")
    make = lambda: create_detector("rtmpose_m", rngs=nnx.Rngs(0))  # noqa: E731
    shapes = torch_weights.shapes(nnx.eval_shape(make))
    assert {k: list(v) for k, v in shapes.items()} == dict(manifest["state_dict"])


def test_step_counters_may_be_missing():
    """Checkpoints of old PyTorch versions lack them."""
    module = Mixed(nnx.Rngs(0))
    state = {k: v for k, v in filled(module).items() if "num_batches" not in k}
    torch_weights.load(module, state)


def test_graph_of_iganet_may_be_missing(golden):
    """Upstream's state_dict has the skeleton graph only if the model was built on a CPU."""
    manifest, _ = golden("iganet_h36m")
    graph = {"A", *(k for k in manifest["absent_when_built_on_gpu"] if "blocks.2" not in k)}
    lifter = build("iganet")
    state = filled(lifter)
    torch_weights.load(lifter, {k: v for k, v in state.items() if k not in graph})
    after = torch_weights.dump(lifter)
    assert list(after) == list(state)
    np.testing.assert_array_equal(after["A"], torch_weights.dump(build("iganet"))["A"])
    del state["IGANet.blocks.1.s_gcn2attn"]
    with pytest.raises(LiftjaxError, match=r"1 missing \(IGANet.blocks.1.s_gcn2attn\)"):
        torch_weights.load(lifter, state)


def test_statistics_are_left_alone():
    lifter = build("simple_baseline")
    lifter.set_statistics(*(np.full((17, d), i) for i, d in enumerate((2, 2, 3, 3))))
    state = filled(lifter)
    assert not [key for key in state if "_2d" in key or "_3d" in key]
    torch_weights.load(lifter, state)
    np.testing.assert_array_equal(lifter.std_3d[...], 3)


def test_pytorch_tensors():
    torch = pytest.importorskip("torch")
    lifter = build("videopose3d")
    state = {k: torch.from_numpy(np.asarray(v)) for k, v in filled(lifter).items()}
    state["shrink.bias"] = state["shrink.bias"].bfloat16().requires_grad_()
    torch_weights.load(lifter, state)
    expected = state["shrink.bias"].detach().float().numpy()
    np.testing.assert_array_equal(lifter.shrink.bias[...], expected)


def test_convolutions_agree_with_pytorch():
    torch = pytest.importorskip("torch")
    for rank in (1, 2, 3):
        options = {"padding": 1, "dilation": 2, "groups": 2}
        ours = Conv(4, 6, (3, 2, 1)[:rank], strides=2, **options, rngs=nnx.Rngs(0))
        theirs = getattr(torch.nn, f"Conv{rank}d")(4, 6, (3, 2, 1)[:rank], stride=2, **options)
        torch_weights.load(ours, theirs.state_dict())
        x = weights.array("x", (2, 4, *(9, 8, 7)[:rank]))
        expected = np.moveaxis(theirs(torch.from_numpy(x)).detach().numpy(), 1, -1)
        np.testing.assert_allclose(ours(jnp.moveaxis(x, 1, -1)), expected, atol=1e-5)
