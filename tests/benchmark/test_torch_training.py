"""The PyTorch training programs against our step, and their losses against the golden step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from liftjax import geometry, torch_weights
from liftjax.benchmark.problem import PEERS, random_batch
from liftjax.detectors.spec import HeatmapOutput, SimCCOutput
from liftjax.errors import LiftjaxError
from liftjax.losses import LossWeights
from liftjax.registry import create_detector, create_lifter
from liftjax.runtime.replicas import Replicas
from liftjax.runtime.state import assign
from tests.goldens.weights import fill_state_dict

torch = pytest.importorskip("torch")

from liftjax.benchmark.torch_peer import compiling, trainers  # noqa: E402
from liftjax.training.detector_step import make_train_step  # noqa: E402
from tests.slow import slow  # noqa: E402

DETECTORS = {"heatmap": "hrnet_tiny", "simcc": "rtmpose_tiny"}
WHOLE = [slow("heatmap"), slow("simcc")]
LIFTERS = {
    "simple_baseline": {"linear_size": 32, "num_stages": 1},
    "videopose3d": {"channels": 32},
    "iganet": {"layers": 1, "channels": 32},
    "mixste": {"embed_dim": 32, "depth": 1},
}


def create(way, *arguments, **options):
    """A trainer that is not compiled, which takes minutes."""
    return trainers.create_trainer(way, *arguments, **options, compile_mode=None)


def batch_of(spec):
    """Noise with a joint that is out of sight and one whose Gaussian misses the crop."""
    batch = random_batch(spec, 3)
    batch["joint_visible"][0, 2] = 0
    batch["joints_px"][1, 3] = -900
    return batch


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads that wait for each other are slow where other tests want the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request):
    return create_detector(DETECTORS[request.param], skeleton="human36m", rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def lifters():
    made = [create_lifter(n, **k, rngs=nnx.Rngs(i)) for i, (n, k) in enumerate(LIFTERS.items())]
    deviation_m = np.full((17, 3), 0.3)
    deviation_m[0] = 0  # the root
    made[0].set_statistics(
        np.full((17, 2), 500), np.full((17, 2), 100), np.full((17, 3), 0.1), deviation_m
    )
    return made


def two_steps(detector, lifters, learning_rate):
    """Our metrics of two steps, and by PyTorch's names the gradients of the first and the running
    statistics that it leaves."""
    problem = make_train_step(detector, lifters)
    one = Replicas.create(num_devices=1)
    step = one.map_step(problem.step, donate=False)
    state, frozen = one.replicate((problem.state, problem.frozen))
    batch = one.shard(batch_of(detector.spec))
    hyper = problem.hyper | {"learning_rate": learning_rate}
    after, metrics = step(state, frozen, batch, hyper)
    _, later = step(after, frozen, batch, hyper)
    # The gradient is read off Adam's memory, of which it is a tenth by now.
    gradients = {name: moment / 0.1 for name, moment in after["opt"].mu.items()}
    module = nnx.clone(detector)
    assign(module, gradients | after["others"])
    metrics = [{name: float(v) for name, v in found.items()} for found in (metrics, later)]
    return metrics, torch_weights.dump(module)


def check_terms(terms, metrics, tolerance):
    """The loss and every term that our metrics have."""
    ours_alone = {"grad_norm", "param_norm", "grad_ratio", "grad_ratio_unscaled"}
    assert set(terms) == set(metrics) - ours_alone
    for name, value in terms.items():
        np.testing.assert_allclose(float(value), metrics[name], rtol=tolerance, err_msg=name)


def off(got, want):
    """The norm of the difference over the norm."""
    return np.linalg.norm(got - want) / np.linalg.norm(want)


class Given(torch.nn.Module):
    """A detector that gives the same output whatever it sees."""

    def __init__(self, *outputs):
        super().__init__()
        self.out = torch.nn.ParameterList(torch.tensor(np.asarray(o)) for o in outputs)

    def forward(self, images):
        return tuple(out * 1 for out in self.out) if len(self.out) > 1 else self.out[0] * 1

    def gradients(self):
        found = [out.grad.cpu().numpy() for out in self.out]
        self.zero_grad()
        return found


class OurGiven(nnx.Module):
    """The same for our step."""

    def __init__(self, detector):
        self.spec, self.kind = detector.spec, type(detector)
        rng, (height, width) = np.random.default_rng(0), detector.spec.output_size
        shapes = ((3, 17, width), (3, 17, height))
        if self.spec.kind == "heatmap":
            shapes = ((3, height, width, 17),)
        noise = [rng.normal(0, 0.03, shape).astype(np.float32) for shape in shapes]
        self.out = nnx.List([nnx.Param(jnp.asarray(n)) for n in noise])

    def __call__(self, images, train):
        kind = HeatmapOutput if self.spec.kind == "heatmap" else SimCCOutput
        return kind(*(out[...] for out in self.out))

    def decode(self, *arguments):
        return self.kind.decode(self, *arguments)

    def twin(self):
        return Given(*map(self.in_torchs_layout, self.out))

    def in_torchs_layout(self, array):
        return jnp.moveaxis(array[...], -1, 1) if self.spec.kind == "heatmap" else array[...]


@pytest.fixture(scope="module")
def ours(detector, lifters):
    """By the number of lifters: (OurGiven, its metrics, its gradients)."""
    known = {}

    def results(count):
        if count not in known:
            given = OurGiven(detector)
            metrics, gradients = two_steps(given, lifters[:count], learning_rate=0.0)
            gradients = [gradients[f"out.{i}"] for i in range(len(given.out))]
            known[count] = given, metrics, list(map(given.in_torchs_layout, gradients))
        return known[count]

    return results


@pytest.mark.parametrize(
    ("detector", "count"),
    [
        slow("heatmap", 0),
        ("heatmap", 1),
        slow("heatmap", 4),
        slow("simcc", 0),
        slow("simcc", 1),
        slow("simcc", 4),
    ],
    indirect=["detector"],
)
@pytest.mark.parametrize("way", PEERS)
def test_terms_and_gradients_at_the_output(detector, lifters, ours, way, count):
    """The weights of the lifters differ in the second step. Measured: gradients 2e-6."""
    given, metrics, want = ours(count)
    trainer = create(way, detector, lifters[:count])
    trainer.detector = given.twin().to(trainer.device)
    placed = trainer.put(batch_of(detector.spec))
    check_terms(trainer.step(placed), metrics[0], 1e-5)
    for got, gradient in zip(trainer.detector.gradients(), want, strict=True):
        assert off(got, gradient) < 2e-5
    check_terms(trainer.step(placed), metrics[1], 1e-5)


@pytest.fixture(scope="module")
def whole_step(detector, lifters):
    return two_steps(detector, lifters[:2], learning_rate=1e-4)


@pytest.mark.parametrize("detector", WHOLE, indirect=True)
@pytest.mark.parametrize("way", PEERS)
def test_two_whole_steps(detector, lifters, whole_step, way):
    """From images to new weights. Measured: gradients 5e-6 to 2e-3, for an activation near zero may
    fall on the other side of the ReLU, and the terms after Adam's first step 1e-3: that step is the
    gradient's sign and moves weights whose gradient is near zero by as much as any."""
    (first, second), want = whole_step
    trainer = create(way, detector, lifters[:2])
    placed = trainer.put(batch_of(detector.spec))
    check_terms(trainer.step(placed), first, 1e-5)
    names, parameters = zip(*trainer.detector.named_parameters(), strict=True)
    got = np.concatenate([p.grad.cpu().numpy().ravel() for p in parameters])
    assert off(got, np.concatenate([want[name].ravel() for name in names])) < 5e-3
    for name, value in trainer.detector.state_dict().items():
        if "running" in name:
            np.testing.assert_allclose(value.cpu(), want[name], rtol=1e-4, atol=1e-6)
    check_terms(trainer.step(placed), second, 5e-3)


@pytest.mark.parametrize("detector", WHOLE, indirect=True)
def test_autocast_is_near(detector, lifters, whole_step):
    (first, _), _ = whole_step
    trainer = create("tuned", detector, lifters[:2], precision="bfloat16")
    terms = trainer.step(trainer.put(batch_of(detector.spec)))
    check_terms(terms, first, 5e-3)  # measured: 8e-4


@pytest.mark.parametrize("way", PEERS)
def test_forward_is_that_of_the_trained_network(detector, way):
    trainer = create(way, detector, learning_rate=0.01)
    placed = trainer.put(batch_of(detector.spec))
    before = as_array(trainer.forward(placed))
    trainer.step(placed)
    after = as_array(trainer.forward(placed))
    assert np.abs(after - before).max() > 0.01 * np.abs(before).max()
    images = detector.spec.normalize(batch_of(detector.spec)["image_u8"])
    ours = as_array(jax.tree.leaves(nnx.jit(type(detector).__call__)(detector, images)))
    if detector.spec.kind == "heatmap":
        ours = ours.transpose(0, 3, 1, 2)
    assert off(before, ours) < 1e-4


def as_array(outputs):
    """A detector's only or first output."""
    value = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
    return np.asarray(value.cpu() if isinstance(value, torch.Tensor) else value)


@pytest.mark.parametrize("way", PEERS)
def test_golden_step(golden, way):
    """Every term, and the gradients at the heatmaps, of the authors' own step."""
    (manifest, arrays), (lifter_manifest, _) = golden("losses_single_sb"), golden("simple_baseline")
    lifter = create_lifter("simple_baseline", rngs=nnx.Rngs(0))
    lifter.set_statistics(
        arrays["in_mean_2d"],
        arrays["in_std_2d"],
        arrays["in_mean_3d"] / 100,
        arrays["in_std_3d"] / 100,
    )
    torch_weights.load(lifter, fill_state_dict(lifter_manifest))
    spare = create_detector(
        "hrnet_tiny", skeleton="human36m", image_size=(384, 288), rngs=nnx.Rngs(0)
    )
    trainer = create(way, spare, [lifter])
    trainer.detector = Given(arrays["in_heatmap"]).to(trainer.device)
    run = manifest["runs"]["run"]
    trainer.weights = LossWeights(
        run["loss_2d_w"], run["ohklm_w"], run["loss_3d_xy_w"], run["loss_3d_z_w"], 1.0, 0.0, 0.0
    )
    placed = trainer.put(golden_batch(arrays))

    terms = trainer.step(placed)
    (total,) = trainer.detector.gradients()
    for name, key in (
        ("loss", "total"),
        ("loss_2d", "loss_2d"),
        ("ohklm", "ohklm_2d"),
        ("xy", "xy_3d"),
        ("z", "z_3d"),
        ("mse_0", "per_model_mse_3d"),
    ):
        np.testing.assert_allclose(float(terms[name]), arrays[key].item(), rtol=1e-5, err_msg=name)
    trainer.weights = trainer.weights._replace(l_xy=0.0, l_z=0.0)
    trainer.step(placed)
    (of_2d,) = trainer.detector.gradients()
    for found, key, tolerance in (
        (total, "grad_heatmap", 2e-4),
        (of_2d, "grad_heatmap_2d", 1e-5),
    ):
        want = arrays[key]
        assert np.abs(found - want).max() <= tolerance * np.abs(want).max()


def golden_batch(arrays):
    """The golden step's inputs as a batch of `liftjax.data.pipeline`; the images play no part."""
    center, width = arrays["in_center"], arrays["in_scale"][:, 0] * 200
    crop_to_image = geometry.invert_affine(geometry.region_affine(center, width, (384, 288)))
    batch, joints, _, width = arrays["in_target"].shape
    peaks = arrays["in_target"].reshape(batch, joints, -1).argmax(-1)
    joints_crop = 4.0 * np.stack([peaks % width, peaks // width], -1)
    return {
        "image_u8": np.zeros((batch, 384, 288, 3), np.uint8),
        "crop_to_image": crop_to_image,
        "joints_px": geometry.apply_affine(crop_to_image, joints_crop).astype(np.float32),
        "joint_visible": arrays["in_target_weight"][..., 0],
        "pose_m": arrays["in_joints_3d_cm"] / np.float32(100),
        "has_3d": np.ones(batch, np.float32),
        "image_size": np.stack([arrays["in_width"], arrays["in_height"]], -1).astype(np.float32),
    }


def test_what_fails_to_compile_runs_all_the_same(capsys, monkeypatch):
    def fails(*_):
        raise RuntimeError("no compiler\nand much more")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fails)
    function = compiling.compiled(lambda x: 2 * x, "default")
    assert (function(3), function(4)) == (6, 8)
    (line,) = capsys.readouterr().err.splitlines()
    assert "runs eagerly" in line
    assert line.endswith("no compiler")


def test_what_fails_to_record_runs_all_the_same_and_from_the_same_state(capsys, monkeypatch):
    state, born = torch.ones(2), []

    def step(batch):
        state.add_(batch["x"])
        if not born:
            born.append(torch.zeros(2))
        born[0].add_(1)
        return {"x": state.clone()}

    def fails(self, static):
        step(static)
        raise RuntimeError("no graph\nand much more")

    monkeypatch.setattr(compiling.Captured, "_captured", fails)
    run = compiling.Captured(step, lambda: [state, *born])
    assert run({"x": torch.ones(2)})["x"].tolist() == [2, 2]
    assert born[0].tolist() == [1, 1]
    assert run({"x": torch.ones(2)})["x"].tolist() == [3, 3]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("no graph")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need an NVIDIA GPU")
def test_a_recorded_step_is_the_eager_one(detector, lifters, capsys):
    eager = create("tuned", detector, lifters)
    recorded = trainers.create_trainer("tuned", detector, lifters, compile_mode="default")
    for _ in range(3):
        terms, same = (t.step(t.put(batch_of(detector.spec))) for t in (eager, recorded))
        check_terms(same, {name: float(value) for name, value in terms.items()}, 1e-2)
    assert capsys.readouterr().err == ""
    assert recorded.peak_bytes() > 0


def test_mistakes_are_named(detector):
    with pytest.raises(LiftjaxError, match="did you mean 'tuned'"):
        create("tunned", detector)
    with pytest.raises(LiftjaxError, match="float32"):
        create("released", detector, precision="bfloat16")
    batch = batch_of(detector.spec)
    with pytest.raises(LiftjaxError, match="3D label"):
        create("tuned", detector).put(batch | {"has_3d": np.zeros(3, np.float32)})
    turned = batch["crop_to_image"][:, :, [1, 0, 2]]
    with pytest.raises(LiftjaxError, match="rotated"):
        create("released", detector).put(batch | {"crop_to_image": turned})
