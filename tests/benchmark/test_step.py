"""`benchmark step`: every row is there, ratios follow from the seconds, no failure ends a run."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from liftjax import cli
from liftjax.benchmark import machine, maps, problem, stages, step, step_tables
from liftjax.benchmark.problem import random_batch
from liftjax.benchmark.timing import LATE, Candidate, Comparison, time_in_turn
from liftjax.detectors.spec import DETECTOR_PRECISIONS
from liftjax.errors import LiftjaxError
from liftjax.nn.operations import multiply_adds
from liftjax.registry import create_detector
from tests.documents import ROOT
from tests.lifters.small import build
from tests.training.toys import toy_detector

SIZE = (64, 64)
LIFTERS = ("simple_baseline", "videopose3d")
STEPS = ["FT-2D step", "guided step, 2 lifters"]
OURS = [stages.DECODE, stages.COPY, stages.FORWARD, *STEPS]
PEERS = [stages.COPY, stages.FORWARD, *STEPS]


class Trainer:
    """Stands for a PyTorch trainer."""

    def __init__(self, fails: bool = False):
        self.fails, self.waited = fails, 0

    def put(self, batch):
        return batch["image_u8"]

    def forward(self, placed):
        return placed.sum()

    def step(self, placed):
        if self.fails:
            raise MemoryError("no room\nfor it")
        return {"loss": placed.sum()}

    def wait(self):
        self.waited += 1

    def peak_bytes(self):
        return 5 << 20


@pytest.fixture
def trainers(monkeypatch):
    """What is asked of `trainers.create_trainer`; the released trainer's guided steps fail."""
    module = pytest.importorskip("liftjax.benchmark.torch_peer.trainers")
    asked = []

    def create(way, module, lifters, *, precision):
        asked.append((way, len(lifters), precision))
        return Trainer(fails=way == "released" and len(lifters) > 0)

    monkeypatch.setattr(module, "create_trainer", create)
    return asked


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(step, "all_lifters", lambda frames=1: [build(name) for name in LIFTERS])
    monkeypatch.setattr(step.peaks, "matmul_flops", lambda precision: 1e12)
    monkeypatch.setattr(step.peaks, "copy_bytes_per_s", lambda: 1e10)
    with toy_detector():
        yield


def test_the_largest_guided_step_is_also_timed_through_several_frames(monkeypatch, tmp_path):
    def lifters(frames=1):
        return [
            build("simple_baseline"),
            build("videopose3d", num_frames=frames, filter_widths=None),
        ]

    monkeypatch.setattr(step, "all_lifters", lifters)
    monkeypatch.setattr(problem, "_RECORDS", 50)
    out = tmp_path / "step.json"
    step.time_steps(options(frames=9), str(out))
    (cell,) = json.loads(out.read_text())["cells"]
    timed = {row["stage"]: row["flops"] for row in cell["rows"] if "flops" in row}
    assert timed["guided step, 2 lifters"] < timed["guided step, 2 lifters, 9 frames"]
    step.time_steps(options(frames=9, lifters=[0, 1]), str(out))
    (cell,) = json.loads(out.read_text())["cells"]
    assert not any("9 frames" in row["stage"] for row in cell["rows"])


def options(**changes) -> step.StepOptions:
    settings = {
        "detectors": ["toy"],
        "batch_sizes": [2],
        "precisions": ["float32"],
        "peers": ["none"],
        "map_batch_sizes": [0],
        "lifters": [2, 0],
        "repeats": 1,
        "image_size": SIZE,
    }
    return step.StepOptions(**settings | changes)


def test_every_row_is_there_and_ratios_are_what_the_seconds_say(trainers, tmp_path, capsys):
    out = tmp_path / "results" / "step.json"
    step.time_steps(options(peers=["tuned", "released"], calls=2), str(out))
    text = capsys.readouterr().out
    results = json.loads(out.read_text())
    assert {"cpu", "cores", "memory_bytes", "device"} <= results["machine"].keys()
    assert {"versions", "torch", "source", "environment", "options"} <= results.keys()
    assert results["peaks"]["matmul"] == {"float32": 1e12}
    (cell,) = results["cells"]
    assert [cell[k] for k in ("detector", "image_size", "batch_size", "precision")] == [
        "toy", list(SIZE), 2, "float32",
    ]  # fmt: skip
    rows = {(row["stage"], row["way"]): row for row in cell["rows"]}
    ways = ("tuned", "released")
    assert set(rows) == {(s, "liftjax") for s in OURS} | {(s, w) for s in PEERS for w in ways}
    for (stage, way), row in rows.items():
        assert f"| {stage} " in text
        if way == "released" and stage.startswith("guided"):
            assert row["failed"] == "MemoryError: no room"
            assert f"{stage}, released: MemoryError: no room" in text
            continue
        seconds = row["seconds"]
        assert 0 < seconds["least"] <= seconds["median"] <= seconds["most"]
        assert row["images_per_s"] == pytest.approx(2 / seconds["median"])
        ours = rows[stage, "liftjax"]
        reference = rows["FT-2D step", way]["seconds"]["median"]
        assert row["of_ft2d"] == pytest.approx(seconds["median"] / reference)
        if way != "liftjax":
            assert row["ratio"] == pytest.approx(seconds["median"] / ours["seconds"]["median"])
        if stage not in (stages.DECODE, stages.COPY):
            assert row["flops_per_s"] == pytest.approx(ours["flops"] / seconds["median"])
            assert row["share_of_peak"] == pytest.approx(row["flops_per_s"] / 1e12)
        if way == "liftjax" and stage in STEPS:
            assert min(row["trace_s"], row["cold_s"], row["program_bytes"]) > 0
            assert ("warm_s" in row) == (stage == STEPS[-1])
        if way == "tuned":
            assert row["device_bytes"] == 5 << 20
    assert set(trainers) == {(way, n, "float32") for way in ways for n in (0, 2)}


def test_the_released_trainer_is_float32_whatever_ours_is(trainers):
    module = create_detector("toy", skeleton="human36m", rngs=nnx.Rngs(0))
    batch = random_batch(module.spec, 2)
    cell = stages.Cell(module, [], [0], batch, "bfloat16")
    for way in problem.PEERS:
        for candidate in stages.peer_candidates(way, cell):
            _, facts = candidate.prepare()
            assert facts["precision"] == trainers[-1][2]
    assert trainers == [("released", 0, "float32"), ("tuned", 0, "bfloat16")]


def test_arithmetic_is_that_of_the_traced_program():
    module = create_detector("toy", skeleton="human36m", image_size=SIZE, rngs=nnx.Rngs(0))
    batch = random_batch(module.spec, 2)
    found = stages.liftjax_candidates(stages.Cell(module, [], [0], batch, "float32"))
    _, facts = found[2].prepare()
    images = jnp.zeros((2, *SIZE, 3))
    assert facts["flops"] == 2 * multiply_adds(module, images)


def test_steps_go_on_from_the_state_that_they_leave():
    module = create_detector("toy", skeleton="human36m", rngs=nnx.Rngs(0))
    batch = random_batch(module.spec, 2)
    cell = stages.Cell(module, [], [0], batch, "float32")
    training, _ = stages.liftjax_candidates(cell)[-1].prepare()
    first = training.state
    losses = [float(training()["loss"]) for _ in range(8)]
    assert min(losses[4:]) < losses[0]
    assert all(array.is_deleted() for array in first["params"].values())
    assert int(training.state["opt"].count) == 8


def test_maps_of_both_kinds_and_pytorch_beside_them(capsys):
    pytest.importorskip("torch")
    detectors = ["hrnet_tiny", "rtmpose_tiny"]
    changes = {"detectors": detectors, "peers": ["tuned"], "map_batch_sizes": [2]}
    settings = options(**changes, time_limit=3600).checked()
    measured = step._Run(settings, None)
    for task in measured.map_tasks().values():
        task()
    heat, simcc = measured.results["maps"]
    assert (heat["shape"], simcc["shape"]) == ((2, 16, 16, 17), (2, 17, 128))
    for cell, stage in ((heat, maps.SOFT_ARGMAX_2D), (simcc, maps.SOFT_ARGMAX_1D)):
        assert cell["bytes"] == 4 * np.prod(cell["shape"])
        rows = {(row["stage"], row["way"]): row for row in cell["rows"]}
        for passes, times in maps.PASSES.items():
            for way in ("plain", "xla", maps.EAGER):
                row = rows[f"{stage}: {passes}", way]
                eager = rows[f"{stage}: {passes}", maps.EAGER]["seconds"]["median"]
                median = row["seconds"]["median"]
                assert row["bytes"] == times * cell["bytes"]
                assert row["share_of_copy"] == pytest.approx(row["bytes"] / median / 1e10)
                assert row["speedup"] == pytest.approx(eager / median)
        assert stage in step_tables.format_maps(cell)


@pytest.mark.parametrize("kind", ["heatmap", "simcc"])
def test_all_implementations_of_the_maps_do_the_same(kind):
    """As they are called here, PyTorch's too."""
    shape = (2, 16, 12, 5) if kind == "heatmap" else (2, 5, 64)
    found, with_torch = {}, stages.torch_installed()
    for candidate in maps.map_candidates(maps.Maps(kind, shape), with_torch):
        call, _ = candidate.prepare()
        result = call()
        if candidate.way != maps.EAGER:
            found.setdefault(candidate.stage, []).append(result)
    assert len(found) >= 2
    for results in found.values():
        assert len(results) >= 2
        for other in results[1:]:
            for a, b in zip(*map(jax.tree.leaves, (results[0], other)), strict=True):
                # A sharp softmax: float32 knows its exponents, of about 300, to some 1e-5.
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(100, np.abs(b).max()))


def test_a_failing_stage_does_not_end_a_run():
    def fail():
        raise RuntimeError("out of memory\nhere is why")

    def fails_when_called():
        return fail, {}

    def works():
        return lambda: jnp.zeros(()), {"flops": 7}

    found = [
        Candidate("forward", "liftjax", works),
        Candidate("a", "liftjax", fail),
        Candidate("b", "liftjax", fails_when_called),
    ]
    comparison = Comparison()
    comparison.prepare(found)
    comparison.time(repeats=2, times=2)
    stages.compare_stages(comparison, 4, {}, "float32")
    rows = comparison.rows
    assert rows["forward", "liftjax"]["seconds"]["median"] > 0
    for stage in "ab":
        assert rows[stage, "liftjax"]["failed"] == "RuntimeError: out of memory"
        assert "seconds" not in rows[stage, "liftjax"]


def test_what_begins_to_fail_is_left_out_of_later_turns():
    left = [True] * 3

    def tires():
        left.pop()

    failures = {}
    timings = time_in_turn({"tires": tires, "lasts": dict}, 5, failures=failures)
    assert set(timings) == {"lasts"}
    assert failures["tires"].startswith("IndexError")
    with pytest.raises(IndexError):
        time_in_turn({"tires": tires}, 5)


def test_calls_of_a_turn_are_averaged():
    ticks = iter(range(100))
    timings = time_in_turn({"": dict}, 3, clock=lambda: next(ticks), times=4)
    assert timings[""][:3] == (0.25, 0.25, 0.25)


def test_after_the_time_limit_nothing_is_begun(tmp_path, capsys):
    out = tmp_path / "step.json"
    settings = options(map_batch_sizes=[2], time_limit=0)
    step.time_steps(settings, str(out))
    results = json.loads(out.read_text())
    assert results["cells"] == results["maps"] == []
    assert results["not_begun"] == ["maps (2, 17, 128)", "toy, batch 2, float32"]
    assert "not begun (--time-limit): maps" in capsys.readouterr().out
    candidate = Candidate("forward", "liftjax", lambda: pytest.fail("begun"))
    comparison = Comparison(late=lambda: True)
    comparison.prepare([candidate])
    assert comparison.rows["forward", "liftjax"]["failed"] == LATE


def test_a_directory_gets_a_file_named_after_the_machine(tmp_path):
    step.time_steps(options(time_limit=0), str(tmp_path))
    (file,) = tmp_path.iterdir()
    assert file.name == machine.file_name("step", ["float32"])
    assert file.name.startswith("step_")
    assert file.name.endswith("_float32.json")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("NVIDIA H200", "nvidia-h200"),
        ("TPU v5 lite", "tpu-v5-lite"),
        ("Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz 2 cores", "intel-xeon-gold-6130-2-cores"),
        ("AMD EPYC 7B13 64-Core Processor", "amd-epyc-7b13-64-core"),
    ],
)
def test_names_of_machines(name, slug):
    assert machine.slug(name) == slug


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detectors": ["hrnet_w23"]}, "hrnet_w32"),
        ({"precisions": ["bfloat61"]}, "bfloat16"),
        ({"peers": ["tunned"]}, "tuned"),
        ({"batch_sizes": [4, 0]}, "at least 1"),
        ({"repeats": 0}, "at least 1"),
        ({"lifters": [-1]}, "at least 0"),
        ({"lifters": [0, 9]}, "--lifters 9: there are 4"),
    ],
)
def test_wrong_options_are_told_before_anything_runs(changes, message):
    with pytest.raises(LiftjaxError, match=message):
        options(**changes).checked()


def test_without_pytorch_there_is_no_peer(monkeypatch):
    monkeypatch.setattr(stages, "torch_installed", lambda: False)
    assert step.StepOptions().checked().peers == ()
    with pytest.raises(LiftjaxError, match="--peer needs PyTorch: pip install torch"):
        options(peers=["tuned"]).checked()


def test_defaults_suit_the_platform():
    cpu, accelerator = step.defaults(False), step.defaults(True)
    assert (cpu["batch_sizes"], cpu["precisions"]) == ((4,), ("float32",))
    assert accelerator["detectors"] == ("hrnet_w32", "rtmpose_m", "rtmpose_l", "dwpose_l")
    assert set(accelerator["precisions"]) == set(DETECTOR_PRECISIONS)


def test_the_command_passes_its_options_on(monkeypatch, capsys):
    given = []
    monkeypatch.setattr(step, "time_steps", lambda options, out: given.append((options, out)))
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    line = (
        "benchmark --detector hrnet_w32 rtmpose_m --batch-size 4 64 --precision float32 bfloat16 "
        "--peer none --lifters 0 4 --calls 3 --image-size 64 48 --time-limit 9.5 --out x.json"
    )
    assert cli.main(line.split()) == 0
    ((options, out),) = given
    assert out == "x.json"
    assert options.detectors == ["hrnet_w32", "rtmpose_m"]
    assert options.batch_sizes == [4, 64]
    assert options.precisions == ["float32", "bfloat16"]
    assert (options.lifters, options.calls, options.image_size) == ([0, 4], 3, (64, 48))
    assert options.time_limit == 9.5
    assert cli.main(["benchmark", "cost", "--detector", "hrnet_w32", "rtmpose_m"]) == 2
    assert "--detector takes one value here, not 2" in capsys.readouterr().err


def test_documented_files_are_there():
    text = (ROOT / "docs/benchmarks/README.md").read_text()
    for file in (ROOT / "docs/benchmarks").glob("*.json"):
        named = file.name.startswith(("step_", "program_")) or f"`{file.name}`" in text
        assert named, file.name
