"""The PyTorch twins: against upstream's own numbers, and ours against the twins.

The comparisons with ours run in float64, where any difference beyond 1e-9 is a mistake.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from liftjax import registry, torch_weights
from liftjax.errors import LiftjaxError
from tests.goldens import weights

torch = pytest.importorskip("torch")

from liftjax.benchmark import torch_peer  # noqa: E402
from tests.slow import slow  # noqa: E402

SMALL_VP = {"channels": 24, "dropout": 0.0}
LIFTERS = {  # name, sizes; the published sizes with one frame are compared with upstream below
    "SB": (
        "simple_baseline",
        {"linear_size": 32, "num_stages": 1, "dropout": 0.0, "skeleton": "panoptic"},
    ),
    "VP, 9 frames": ("videopose3d", SMALL_VP | {"num_frames": 9}),
    "VP, widths": ("videopose3d", SMALL_VP | {"filter_widths": (3, 1, 5)}),
    "VP, causal": ("videopose3d", SMALL_VP | {"filter_widths": (3, 5), "causal": True}),
    "VP, dense": ("videopose3d", SMALL_VP | {"filter_widths": (3, 3), "dense": True}),
    "VP, strided": ("videopose3d", SMALL_VP | {"num_frames": 15, "strided": True}),
    "VP, strided, causal": (
        "videopose3d",
        SMALL_VP | {"filter_widths": (3, 3), "strided": True, "causal": True},
    ),
    "IGANet": (
        "iganet",
        {"layers": 2, "channels": 16, "dropout_scale": 0.0, "skeleton": "panoptic"},
    ),
    "MixSTE": (
        "mixste",
        {"embed_dim": 16, "depth": 2, "num_heads": 4, "drop_path": 0.0, "num_frames": 3},
    ),
}
DETECTORS = {"HRNet": "hrnet_tiny", "RTMPose": "rtmpose_tiny"}
QUICK = (
    "VP",
    "VP, strided, causal",
    "hrnet_tiny",
    "rtmpose_tiny",
    "videopose3d",
    "mixste",
)
UPSTREAM = {  # the twin's outputs and the proposed tolerance, relative to their root mean square
    "hrnet_w32_384x288": ("hrnet_w32", 17, ("heatmap",), 5e-5),
    "rtmpose_m_256x192": ("rtmpose_m", 17, ("pred_x", "pred_y"), 5e-4),
    "simple_baseline": ("simple_baseline", None, ("pose3d",), 2e-5),
    "videopose_t1": ("videopose3d", None, ("pose3d",), 3e-5),
    "iganet_h36m": ("iganet", None, ("pose3d",), 3e-5),
    "mixste_t1": ("mixste", None, ("pose3d",), 3e-5),
}


def cases(names):
    return [n if n in QUICK else slow(n) for n in names]


def off(got, want):
    """Largest difference over the root mean square of `want`, or over 1e-3 where that is less."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape
    return np.abs(got - want).max() / max(np.sqrt(np.square(want).mean()), 1e-3)


@pytest.mark.parametrize("file", UPSTREAM)
def test_matches_upstream(golden, file):
    name, num_joints, outputs, tolerance = UPSTREAM[file]
    manifest, arrays = golden(file)
    if num_joints:
        twin = torch_peer.create_detector(name, num_joints).eval()
    else:
        twin = torch_peer.create_lifter(name).eval()
    state = weights.fill_state_dict(manifest)
    assert list(twin.state_dict()) == list(state)
    twin.load_state_dict(torch_peer.as_tensors(state))
    (x,) = map(torch.from_numpy, weights.input_arrays(manifest).values())
    with torch.no_grad():
        got = twin(x.permute(0, 3, 1, 2) if num_joints else x[:, None])
    for key, value in zip(outputs, got if isinstance(got, tuple) else (got,), strict=True):
        assert off(value.reshape(arrays[key].shape), arrays[key]) < tolerance


def abstract(kind, name, **sizes):
    """Our network without its arrays."""
    create = getattr(registry, f"create_{kind}")
    return nnx.eval_shape(lambda: create(name, **sizes, rngs=nnx.Rngs(0)))


TWINS = [
    name
    for name, preset in (registry.DETECTORS | registry.LIFTERS).items()
    if preset.cls.__module__.startswith("liftjax.")
]


@pytest.mark.parametrize("name", cases(TWINS))
def test_every_preset_has_the_same_keys_and_shapes(name):
    kind = "detector" if name in registry.DETECTORS else "lifter"
    with torch.device("cpu" if name == "iganet" else "meta"):  # its graph needs numbers
        twin = getattr(torch_peer, f"create_{kind}")(name)
    shapes = {key: tuple(value.shape) for key, value in twin.state_dict().items()}
    assert shapes == torch_weights.shapes(abstract(kind, name))


def lively(twin, x):
    """Moves all weights off their initial values, and lets batch norm see `x` once.

    Without the latter the signal of a deep network dies out or explodes.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in twin.parameters():
            if parameter.ndim < 2 or not parameter.any():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    norms = [m for m in twin.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    twin.train()(x)
    for norm in norms:
        norm.momentum = 0.1
        norm.num_batches_tracked.zero_()
    return twin


def pair(case):
    """(ours, the twin, inputs in our layout, inputs in PyTorch's) with equal weights."""
    if case in DETECTORS:
        name, sizes = DETECTORS[case], {"num_joints": 3, "image_size": (64, 96)}
        ours, twin = abstract("detector", name, **sizes), torch_peer.create_detector(name, **sizes)
        x = weights.array("images", (4, 64, 96, 3))
        x_twin = torch.from_numpy(x).permute(0, 3, 1, 2)
    else:
        name, sizes = LIFTERS[case]
        ours, twin = abstract("lifter", name, **sizes), torch_peer.create_lifter(name, **sizes)
        frames = {"any": 2, "exact": 3, "sliding": 18, "strided": 2 * ours.spec.num_frames}
        x = weights.array("poses", (6, frames[ours.spec.frames], ours.spec.num_joints, 2))
        x_twin = torch.from_numpy(x)
    twin = lively(twin, x_twin)
    nnx.update(
        ours, jax.tree.map(lambda s: jnp.asarray(np.zeros(s.shape, s.dtype)), nnx.state(ours))
    )
    torch_weights.load(ours, twin.state_dict())
    return ours, twin, x, x_twin


def listed(out):
    """A network's outputs as a list, in PyTorch's layout."""
    if hasattr(out, "heatmaps"):
        return [jnp.moveaxis(out.heatmaps, -1, 1)]
    return list(out) if isinstance(out, tuple) else [out]


def loss(outputs, as_array):
    """Mean squares, weighted so that no symmetry hides a mistake."""
    total = 0.0
    for value in outputs:
        weight = np.linspace(0.5, 1.5, math.prod(value.shape)).reshape(value.shape)
        total = total + (as_array(weight) * value**2).mean()
    return total


def results_of_twin(twin, x):
    """In training mode: outputs, gradients of the loss and running statistics, by name."""
    outputs = listed(twin.double().train()(x.double()))
    loss(outputs, torch.from_numpy).backward()
    results = {f"output {i}": value for i, value in enumerate(outputs)}
    results |= {f"gradient of {k}": p.grad for k, p in twin.named_parameters()}
    results |= {k: v for k, v in twin.state_dict().items() if "running" in k}
    return {key: value.detach().numpy() for key, value in results.items()}


def results_of_ours(module, x):
    """The same of our network; what is called the gradient of a constant is its value."""
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    params, rest = (
        jax.tree.map(lambda a: a.astype(jnp.float64), nnx.to_pure_dict(state))
        for state in (params, rest)
    )

    @jax.jit
    def run(params, x):
        def trained(params):
            module = nnx.merge(graph, params, rest, copy=True)
            outputs = listed(module(x, train=True))
            statistics = nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))
            return loss(outputs, jnp.asarray), (outputs, statistics)

        return jax.grad(trained, has_aux=True)(params)

    gradients, (outputs, statistics) = run(params, jnp.asarray(x, jnp.float64))
    nnx.update(module, gradients, statistics)
    results = {f"output {i}": value for i, value in enumerate(outputs)}
    for key, value in torch_weights.dump(module).items():
        results[key if "running" in key else f"gradient of {key}"] = value
    return results


@pytest.mark.parametrize("case", cases([*DETECTORS, *LIFTERS]))
def test_same_weights_outputs_gradients_and_statistics(case):
    ours, twin, x, x_twin = pair(case)
    state = torch_weights.dump(ours)
    for key, value in twin.state_dict().items():
        assert value.numpy().tobytes() == state[key].tobytes(), key
    twin.load_state_dict(torch_peer.as_tensors(state))

    want = results_of_twin(twin, x_twin)
    with jax.enable_x64(True):
        got = results_of_ours(ours, x)
    # PyTorch's derivative of the hard sigmoid has a sixth in float32.
    tolerance = 1e-6 if case == "RTMPose" else 1e-9
    wrong = {key: off(got[key], want[key]) for key in want}
    assert {key: value for key, value in wrong.items() if value > tolerance} == {}


def test_both_memory_formats():
    twin = torch_peer.create_detector("hrnet_tiny").eval()
    images = torch.from_numpy(weights.array("images", (1, 3, 128, 96)))
    with torch.no_grad():
        expected = twin(images)
        twin = twin.to(memory_format=torch.channels_last)
        heatmaps = twin(images.contiguous(memory_format=torch.channels_last))
    assert heatmaps.is_contiguous(memory_format=torch.channels_last)
    assert off(heatmaps, expected) < 1e-4


def test_typing_errors_are_named():
    with pytest.raises(LiftjaxError, match="did you mean 'hrnet_w32'"):
        torch_peer.create_detector("hrnet_w33")
    with pytest.raises(LiftjaxError, match="did you mean 'embed_dim'"):
        torch_peer.create_lifter("mixste", embed_dims=3)
