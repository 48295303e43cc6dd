"""Guidance by lifters that see the frames around a sample."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from liftjax import evaluation, geometry, losses, prediction
from liftjax.data.pipeline import train_batches
from liftjax.data.records import PoseDataset
from liftjax.errors import LiftjaxError
from liftjax.recipes import load_recipe
from liftjax.runtime.checkpoints import Checkpoints, build_model, load_model, whole_steps
from liftjax.runtime.replicas import Replicas
from liftjax.runtime.state import PureModule, flat_arrays
from liftjax.training import loop, surroundings
from liftjax.training.detector_step import GuidanceOptions, loss_2d_per_joint, make_train_step
from liftjax.training.detector_task import make_detector_task
from liftjax.training.last_found import Seen
from liftjax.training.run import train
from liftjax.training.surroundings import Surroundings
from liftjax.training.update import Update
from tests.data.builders import make_record
from tests.slow import slow
from tests.training.toys import ToySimCC, compiled, toy_detector

LENGTHS = {"a": 11, "b": 7}  # frames of two cameras
FRAMES = 5  # of a window
SIZE = (64, 64)

SPECS = {  # in the order in which a recipe gives them
    "mixste": {"num_frames": FRAMES, "embed_dim": 8, "depth": 1, "num_heads": 2},
    "simple_baseline": {"linear_size": 8, "num_stages": 1},
    "videopose3d": {"num_frames": FRAMES, "channels": 8},
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A data set of two clips."""
    from data_prep.building import write_dataset

    directory = tmp_path_factory.mktemp("clips") / "set"
    one = {"subject": "S1", "action": "Walking", "has_3d": True}
    records = [
        make_record(100 * number + frame, camera=camera, **one | {"frame": frame})
        for number, (camera, length) in enumerate(LENGTHS.items())
        for frame in range(length)
    ]
    write_dataset(directory, "toy", {"train": records, "test": records[:8]}, {"seed": 0})
    return directory


@pytest.fixture(scope="module")
def dataset(clips):
    return PoseDataset.open(clips, "train")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run directories of the lifters, by name."""
    places = {}
    for seed, (name, keywords) in enumerate(SPECS.items()):
        places[name] = tmp_path_factory.mktemp(name)
        spec = {"kind": "lifter", "name": name, "skeleton": "human36m", **keywords}
        arrays = flat_arrays(build_model(spec, seed))
        with Checkpoints(places[name]) as checkpoints:
            checkpoints.save(0, arrays, {"opt": np.zeros(1)}, {"model": spec, "recipe": {}})
    return places


@pytest.fixture(scope="module")
def toy():
    with toy_detector():
        yield


def recipe(clips, runs, *overrides):
    common = (
        f"data.dir={clips}", "detector.name=toy", f"detector.image_size={SIZE}", "batch_size=4",
        "log_every=1", "optim.warmup_steps=0", "optim.schedule=constant", "loss.beta=10",
        "data.eval_batch_size=8",
    )  # fmt: skip
    guides = [f"lifters.{name}={place}" for name, place in runs.items()]
    return load_recipe("multi_model", [*common, *guides, *overrides])


def test_a_window_holds_what_lies_around_a_sample(dataset, runs):
    """By hand: a clip's ends are repeated; MixSTE sees the windows in which it is tested."""
    lifters = {n: load_model(p, "lifter", prediction.strided_form)[0] for n, p in runs.items()}
    samples = np.arange(len(dataset))
    around = Surroundings(dataset, samples, lifters, num_frames=3)
    labels, half = dataset.labels, FRAMES // 2
    row = {(labels["camera"][i], int(labels["frame"][i])): i for i in samples}
    chunk, single, strided = around.around(around.frames)["windows"]
    assert single["inputs"].tolist() == [[i] for i in samples]
    for i in samples:
        camera, frame = labels["camera"][i], int(labels["frame"][i])
        last = LENGTHS[camera] - 1

        def at(*frames, camera=camera, last=last):
            return [row[camera, min(max(f, 0), last)] for f in frames]

        assert around.frames[i].tolist() == at(frame, frame - 1, frame + 1)
        assert strided["inputs"][i].tolist() == at(*range(frame - half, frame + half + 1))
        assert strided["given"][i] == 0
        start = min(frame // FRAMES * FRAMES, last + 1 - FRAMES)
        assert chunk["inputs"][i].tolist() == at(*range(start, start + FRAMES))
        assert chunk["inputs"][i][chunk["given"][i]] == i


def test_frames_that_no_lifter_sees_are_left_out(dataset, runs):
    lifter = {"videopose3d": load_model(runs["videopose3d"], "lifter")[0]}
    around = Surroundings(dataset, np.array([0]), lifter)
    assert dataset.labels["frame"][around.seen].tolist() == [0, 1, 2]


def step_and_batch(clips, runs, dataset, *overrides):
    """A step whose direction is visible in the parameters, its state, and a batch."""
    config = recipe(clips, runs, "loss.dwa=False", "optim.clip_norm=0", *overrides)
    task = make_detector_task(config)
    rng = np.random.default_rng(0)
    state = jax.tree.map(np.asarray, task.begin(task.state))
    noise = rng.normal(0, 5, state["found_px"].shape).astype(np.float32)
    state["found_px"] = dataset.labels["joints_px"].astype(np.float32) + noise
    return config, task, state, next(task.batches(0))


def expected_loss(config, lifters, state, batch):
    """The guided loss as one function of the parameters and of what was found before."""
    spec = {"kind": "detector", "name": "toy", "skeleton": "human36m", "image_size": SIZE}
    module = build_model(spec)
    pure, _, _ = PureModule.split(module)
    around = batch["around"]
    count, frames = around["records"].shape

    def loss(params, found_px):
        module = pure.merge(params, state["others"])
        flat = {k: v.reshape(-1, *v.shape[2:]) for k, v in batch.items() if k != "around"}
        out = module(module.spec.normalize(flat["image_u8"]), train=True)
        loss_2d = loss_2d_per_joint(out, module.spec, flat).reshape(count, frames, -1).mean(1)
        kpts = geometry.apply_affine(flat["crop_to_image"], module.decode(out, config.loss.beta))
        kpts = kpts.reshape(count, frames, *kpts.shape[1:])
        poses = []
        for lifter, window in zip(lifters, around["windows"], strict=True):
            rows = []
            for b in range(count):
                now = {int(r): kpts[b, f] for f, r in reversed([*enumerate(around["records"][b])])}
                inputs = window["inputs"][b].tolist()
                seen = jnp.stack([now.get(record, found_px[record]) for record in inputs])
                lifted = lifter.lift(seen[None], batch["image_size"][b, :1])[0]
                rows.append(lifted[int(window["given"][b])])
            poses.append(jnp.stack(rows))
        weights = losses.DEFAULT_WEIGHTS["simcc"]
        uniform = jnp.full(len(lifters), 1 / len(lifters))
        true = batch["pose_m"][:, 0]
        return losses.multi_model_loss(loss_2d, jnp.stack(poses), true, uniform, weights)[0]

    return loss


@pytest.mark.parametrize("frames", [1, 3])
def test_the_gradient_flows_through_the_frames_of_the_step_alone(clips, runs, dataset, toy, frames):
    """Equal to that of the whole loss, in which what was found before is constant."""
    window = f"loss.window_frames={frames}"
    config, task, state, batch = step_and_batch(clips, runs, dataset, window)
    lifters = [load_model(p, "lifter", prediction.strided_form)[0] for p in runs.values()]
    loss = expected_loss(config, lifters, state, batch)
    value, wanted = jax.jit(jax.value_and_grad(loss))(state["params"], state["found_px"])
    step = make_train_step(
        build_model(task.meta["model"], config.seed), lifters, Update(optax.identity()),
        GuidanceOptions(dwa=False, lifter_names=tuple(runs)), num_records=len(dataset),
    )  # fmt: skip
    hyper = step.hyper | {"beta": config.loss.beta, "learning_rate": 1.0}
    first = step.state | {key: state[key] for key in ("params", "others", "found_px")}
    new, metrics = compiled(step.step)(first, step.frozen, batch, hyper)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    largest = max(np.abs(g).max() for g in wanted.values())
    for name, gradient in wanted.items():
        got = state["params"][name] - np.asarray(new["params"][name])
        np.testing.assert_allclose(got, gradient, atol=1e-3 * largest, err_msg=name)


def test_what_was_found_before_has_no_gradient(dataset, runs):
    """And the sample has one, through every frame of its window that is itself."""
    lifter = load_model(runs["videopose3d"], "lifter")[0]
    around = Surroundings(dataset, np.array([0, 5]), {"vp": lifter})
    found = jnp.asarray(dataset.labels["joints_px"])
    kpts = jnp.asarray(dataset.labels["joints_px"][around.frames])

    def depth(kpts, found):
        window, _ = Seen(around.around(around.frames), found, "human36m").window(0, kpts)
        return lifter.lift(window, jnp.full((2, 2), 200.0)).sum()

    own, before = jax.grad(depth, argnums=(0, 1))(kpts, found)
    assert np.abs(own).max() > 0
    assert not np.asarray(before).any()


def test_found_keypoints_are_replaced_and_change_no_parameter(clips, runs, dataset, toy):
    """Those of the samples and of more frames; the pictures of the latter have no gradient."""
    config, task, state, batch = step_and_batch(clips, runs, dataset, "loss.renewed=0.5")
    step = compiled(task.step)
    new, _ = step(state, task.frozen, batch, task.hyper(0))
    around = batch["around"]
    changed = np.flatnonzero((new["found_px"] != state["found_px"]).any(axis=(1, 2)))
    assert len(around["renewed"]["records"]) == 2
    assert set(changed) == {*around["records"].reshape(-1), *around["renewed"]["records"]}
    other = jax.tree.map(np.copy, batch)
    other["around"]["renewed"]["image_u8"][:] = 0
    again, _ = step(state, task.frozen, other, task.hyper(0))
    assert (again["found_px"] != new["found_px"]).any()
    for name, value in new["params"].items():
        np.testing.assert_array_equal(again["params"][name], value, err_msg=name)
    detector = build_model(task.meta["model"], config.seed)
    eval_px = prediction.predict_2d(
        detector, dataset.select(around["renewed"]["records"]), replicas=task.replicas,
        **prediction.detection_settings(config),
    )  # fmt: skip
    rows = around["renewed"]["records"]
    kept = ~np.isin(rows, around["records"][:, 0])  # a sample's own come later
    np.testing.assert_allclose(np.asarray(new["found_px"])[rows][kept], eval_px[kept], atol=1e-3)


def test_a_run_begins_with_what_the_first_detector_finds(clips, runs, dataset, toy):
    config = recipe(clips, runs)
    task = make_detector_task(config)
    detector = build_model(task.meta["model"], config.seed)
    wanted = prediction.predict_2d(
        detector, dataset, replicas=task.replicas, **prediction.detection_settings(config)
    )
    np.testing.assert_allclose(task.begin(task.state)["found_px"], wanted, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        (),
        slow(("loss.window_frames=3", "accumulate=2", "ema=0.9", "nonfinite=skip")),
        slow(("data.stride=2", "data.augment.flip=0.5", "loss.balance=1", "remat=True")),
        slow(("loss.lifter_precision=bfloat16", "loss.lifter_dropout=True", "replicate=pmap")),
    ],
    ids=["plain", "frames", "augmented", "narrow"],
)
def test_a_resumed_run_equals_one_without_interruption(clips, runs, toy, tmp_path, settings):
    whole = train(recipe(clips, runs, "steps=4", *settings), tmp_path / "whole")
    train(recipe(clips, runs, "steps=2", *settings), tmp_path / "parts")
    resumed = train(recipe(clips, runs, "steps=4", *settings), tmp_path / "parts")
    assert whole.keys() == resumed.keys() >= {"found_px"}
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_window_of_one_frame_gives_todays_step(clips, runs, toy):
    """Lifters of one frame, through the windows of clips or without them."""
    single = {"simple_baseline": runs["simple_baseline"]}
    guided = recipe(clips, single, "loss.guidance=single")
    plain = make_detector_task(guided)
    batch = next(plain.batches(0))
    lifter = load_model(runs["simple_baseline"], "lifter")[0]
    detector = build_model(plain.meta["model"], guided.seed)
    update = Update(optax.identity())
    options = GuidanceOptions(dwa=False)
    records = batch["index"][:, None]
    window = {"inputs": records, "given": np.zeros(4, np.int32)}
    frames = {key: array[:, None] for key, array in batch.items()}
    frames["around"] = {"records": records, "windows": [window]}
    found = []
    for count, given in ((0, batch), (18, frames)):
        train = make_train_step(detector, [lifter], update, options, num_records=count)
        state, metrics = compiled(train.step)(train.state, train.frozen, given, train.hyper)
        found.append((state["params"], metrics))
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("change", ["flip=1", "roll=40", "flip=0.5"])
def test_windows_are_changed_as_the_pictures_are(dataset, change):
    """The labels of the frames around, moved into the view, are those that batches have."""
    key, amount = change.split("=")
    augment = {key: float(amount), "rotation": 30.0, "scale": 0.2}
    frames = np.array([[4, 3, 5, 6], [13, 12, 14, 15], [8, 7, 9, 10]])
    batch = next(train_batches(dataset, SIZE, 3, seed=1, augment=augment, frames=frames))
    around = {key: batch[key][:, 0] for key in ("image_to_view", "mirrored")}
    around |= {"records": batch["index"][:, :1]}
    around["windows"] = [{"inputs": batch["index"][:, 1:], "given": np.zeros(3, np.int32)}]
    seen = Seen(around, jnp.asarray(dataset.labels["joints_px"]), "human36m")
    own = jnp.asarray(batch["joints_px"][:, :1])
    np.testing.assert_allclose(seen.window(0, own)[0], batch["joints_px"][:, 1:], atol=1e-3)
    back = dataset.labels["joints_px"][batch["index"]]
    np.testing.assert_allclose(seen._in_picture(batch["joints_px"]), back, atol=1e-3)


def test_several_frames_of_a_sample_are_changed_alike(dataset):
    """Each frame is as if it were the sample, but for the draws, which are the sample's."""
    frames = np.array([[4, 3], [13, 12], [8, 7]])
    settings = {"augment": {"flip": 0.5, "roll": 20.0, "color": 0.5}, "seed": 3}
    several = next(train_batches(dataset, SIZE, 3, frames=frames, **settings))
    alone = next(train_batches(dataset.select(frames[:, 0]), SIZE, 3, **settings))
    for name, array in alone.items():
        if name != "index":
            np.testing.assert_array_equal(several[name][:, 0], array, err_msg=name)
    assert several["index"].shape == (3, 2)
    np.testing.assert_array_equal(several["mirrored"][:, 0], several["mirrored"][:, 1])


def test_of_a_record_that_comes_twice_the_last_keypoints_stay():
    from liftjax.training.last_found import _replaced

    before, new = jnp.zeros((4, 2, 2)), jnp.arange(1.0, 4)[:, None, None] * jnp.ones((3, 2, 2))
    after = _replaced(before, jnp.array([2, 0, 2]), new)
    assert np.asarray(after)[:, 0, 0].tolist() == [2, 0, 3, 0]


def test_evaluation_lifts_every_frame_from_its_clip(clips, runs, dataset, toy):
    """And of a stride only those frames count, which still see the others."""
    detector = ToySimCC(17, SIZE, skeleton="human36m", rngs=nnx.Rngs(0))
    lifter = load_model(runs["videopose3d"], "lifter")[0]
    options = {"replicas": Replicas.create(num_devices=1), "batch_size": 8}
    _, kpts, poses = evaluation.evaluate(detector, {"vp": lifter}, dataset, **options)
    by_hand = prediction.lift_dataset(lifter, dataset.with_keypoints(kpts))
    np.testing.assert_allclose(poses["vp"], by_hand, atol=1e-5)
    some, kpts_3, poses_3 = evaluation.evaluate(
        detector, {"vp": lifter}, dataset, stride=3, **options
    )
    counted = dataset.labels["frame"] % 3 == 0
    assert some["samples"] == counted.sum() == 7
    np.testing.assert_allclose(poses_3["vp"], poses["vp"][counted], atol=1e-5)
    np.testing.assert_allclose(kpts_3, kpts[counted], atol=1e-4)


def test_samples_follow_the_stride_of_their_recording(clips, runs, toy):
    """Four frames apart, two clips of 11 and 7 frames have five samples."""
    task = make_detector_task(recipe(clips, runs, "data.stride=4", "batch_size=5"))
    batch = next(task.batches(0))
    records = batch["around"]["records"][:, 0]
    dataset = PoseDataset.open(clips, "train")
    assert batch["image_u8"].shape == (5, 1, *SIZE, 3)
    assert sorted(dataset.labels["frame"][records].tolist()) == [0, 0, 4, 4, 8]
    assert task.samples(0) == dataset.names(records)


def test_a_data_set_that_is_no_video_is_refused(runs, toy, tmp_path):
    """Single pictures, and frames far apart; photographs without 3D poses may be among others."""
    from data_prep.building import write_dataset

    one = {"subject": "S1", "action": "Walking", "camera": "a"}
    frames = {"single": [{"camera": f"cam{i}"} for i in range(9)]}
    frames["thinned"] = [{"frame": 40 * i} for i in range(9)]
    frames["mixed"] = [{"has_3d": False, "subject": f"photo{i}"} for i in range(20)] + [{}] * 9
    for name, changes in frames.items():
        records = [make_record(i, **{"has_3d": True} | one | c) for i, c in enumerate(changes)]
        write_dataset(tmp_path / name, "toy", {"train": records}, {"seed": 0})
    lifter = load_model(runs["videopose3d"], "lifter")[0]
    for name in ("single", "thinned"):
        with pytest.raises(LiftjaxError, match=r"is no video, but the lifter .* needs 5 consecut"):
            make_detector_task(recipe(tmp_path / name, runs))
        dataset = PoseDataset.open(tmp_path / name, "train")
        with pytest.raises(LiftjaxError, match="is no video, but the lifter vp needs 5 consecut"):
            evaluation.evaluate(None, {"vp": lifter}, dataset)
    task = make_detector_task(recipe(f"{tmp_path / 'mixed'},{tmp_path / 'mixed'}", runs,
                                     "data.shares=(0.5,0.5)", "batch_size=8"))  # fmt: skip
    batch = next(task.batches(0))
    alone = batch["has_3d"][:, 0] == 0
    inputs, records = batch["around"]["windows"][2]["inputs"], batch["around"]["records"]
    assert alone.any()
    assert not alone.all()
    assert (inputs[alone] == records[alone]).all()
    assert np.isfinite(float(compiled(task.step)(
        jax.tree.map(jnp.asarray, task.state), task.frozen, batch, task.hyper(0)
    )[1]["loss"]))  # fmt: skip


def test_a_run_goes_on_with_its_own_data_and_lifters_alone(clips, runs, toy, tmp_path):
    """What was found in other frames, or for other windows, would be missing."""
    train(recipe(clips, runs, "steps=1"), tmp_path / "run")
    changed = runs | {"videopose3d": tmp_path / "longer"}
    spec = {"kind": "lifter", "name": "videopose3d", "skeleton": "human36m"}
    spec |= SPECS["videopose3d"] | {"num_frames": 7}
    with Checkpoints(changed["videopose3d"]) as checkpoints:
        arrays = flat_arrays(build_model(spec))
        checkpoints.save(0, arrays, {"opt": np.zeros(1)}, {"model": spec, "recipe": {}})
    with pytest.raises(LiftjaxError, match="goes on with the same data and lifters only"):
        train(recipe(clips, changed, "steps=2"), tmp_path / "run", accept_changes=True)


def test_what_is_found_first_is_saved_before_the_first_step(clips, runs, toy, tmp_path):
    """A run that ends in the first step does not look through all frames again."""
    config = recipe(clips, runs, "steps=2")
    ended = mock.patch.object(loop, "_next_batch", side_effect=KeyboardInterrupt)
    with ended, pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run")
    assert whole_steps(tmp_path / "run" / "checkpoints") == [0]
    with mock.patch.object(surroundings, "predict_2d", side_effect=AssertionError):
        resumed = train(config, tmp_path / "run")
    whole = train(config, tmp_path / "whole")
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_does_not_fit_is_named(clips, runs, toy, tmp_path):
    single = {"simple_baseline": runs["simple_baseline"]}
    for settings, said in {
        ("loss.window_frames=2",): "it must be odd",
        ("loss.renewed=-1",): "config.loss.renewed is -1",
        ("data.stride=0",): "config.data.stride is 0",
    }.items():
        with pytest.raises(LiftjaxError, match=said):
            train(recipe(clips, runs, *settings), tmp_path / "run")
    with pytest.raises(LiftjaxError, match="no lifter that guides sees several frames"):
        make_detector_task(recipe(clips, single, "loss.guidance=single", "loss.window_frames=3"))
