"""What is done of a plan and what is left alone, with toys in the place of training."""

import collections
import dataclasses
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data_prep.building import write_dataset
from liftjax.experiments.paper import execute as module
from liftjax.experiments.paper.execute import Workdir, execute_runs
from liftjax.experiments.paper.plan import TablesPlan
from liftjax.experiments.paper.runs import Source
from liftjax.experiments.paper.scales import TINY
from liftjax.experiments.paper.study import Study
from tests.data.builders import make_record
from tests.experiments.paper import toy_runs

COUNT = 12  # test samples, of which a fifth has no 3D pose


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """The user's data: two splits, and poses without pictures among the tested ones."""
    directory = tmp_path_factory.mktemp("people") / "set"
    test = [make_record(i) for i in range(COUNT)]
    test += [make_record(i, with_picture=False, has_3d=True) for i in range(COUNT, COUNT + 3)]
    splits = {"train": [make_record(i) for i in range(20, 25)], "test": test}
    write_dataset(directory, "toy", splits, {"seed": 0})
    return directory


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Reads what the toys have done so far, as lists of words."""
    toy_runs.install(monkeypatch.setattr)
    monkeypatch.setenv(toy_runs.LOG, str(tmp_path / "log.txt"))
    path = tmp_path / "log.txt"
    return lambda: [line.split() for line in path.read_text().splitlines()]


@pytest.fixture
def workdir(tmp_path, log):
    return Workdir(tmp_path / "work")


def study(people, **more):
    source = Source("human36m", str(people), samples=5)
    return Study(source, TINY, actions=("Walking", "Sitting"), **more)


def table_3(one):
    return TablesPlan(("3", "gt"), ((one,),)).runs()


def starts(log):
    return collections.Counter(words[1] for words in log() if words[0] == "start")


def files(folder):
    """Every file below a folder with its time and content."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in sorted(Path(folder).rglob("*"))
    }


def test_every_run_is_trained_once_and_measured(people, workdir, log, capsys):
    runs = table_3(study(people))
    assert not any(map(workdir.is_done, runs))
    execute_runs(runs, workdir, {})
    assert all(map(workdir.is_done, runs))
    assert starts(log) == {run.id: 1 for run in runs if run.recipe}
    assert {path.name for path in (workdir.root / "runs").iterdir()} == {run.id for run in runs}
    for run in runs:
        if run.recipe:
            assert workdir.seconds(run) >= 0
    said = capsys.readouterr().out
    for i, run in enumerate(runs):
        assert f"[{i + 1}/{len(runs)}] {run.id} {run.title}" in said


def test_outcomes_are_of_samples_with_a_picture_and_a_pose(people, workdir):
    one = study(people)
    execute_runs([one.ft2d("rtmpose"), one.truth()], workdir, {})
    found, truth = workdir.outcome(one.ft2d("rtmpose")), workdir.outcome(one.truth())
    assert len(found) == len(truth) == sum(i % 5 != 4 for i in range(COUNT))
    assert list(found.lifters) == list(one.lifters)
    np.testing.assert_array_equal(truth.kpts_px_NK2, truth.labels["joints_px"])
    assert found.error_px_NK.mean() > 0.5
    assert np.isfinite(found.error_mm("mixste")).all()


def test_nothing_finished_is_done_again(people, workdir, log, capsys):
    runs = table_3(study(people))
    execute_runs(runs, workdir, {})
    before, log_before = files(workdir.root / "runs"), log()
    capsys.readouterr()
    execute_runs(runs, workdir, {})
    assert files(workdir.root / "runs") == before
    assert log() == log_before
    assert capsys.readouterr().out == f"{len(runs)} of {len(runs)} runs are there already.\n"


def test_more_tables_do_what_they_add(people, workdir, log):
    one = study(people)
    execute_runs(table_3(one), workdir, {})
    earlier = starts(log)
    execute_runs(TablesPlan(("3", "relu"), ((one,),)).runs(), workdir, {})
    added = starts(log) - earlier
    relu = one.single("rtmpose", "simple_baseline", **{"loss.normalizer": "relu"})
    assert added == {relu.id: 1}


def test_a_failure_leaves_what_is_finished_and_the_next_start_goes_on(
    people, workdir, log, monkeypatch
):
    one = study(people)
    runs, failing = table_3(one), one.single("rtmpose", "simple_baseline")

    def fails(config, place):
        if place.endswith(failing.id):
            raise OSError("no space left")
        toy_runs.train(config, place)

    with monkeypatch.context() as broken:
        broken.setattr(module.training, "train", fails)
        with pytest.raises(OSError, match="no space left"):
            execute_runs(runs, workdir, {})
    done = [run for run in runs if workdir.is_done(run)]
    assert done == runs[: runs.index(failing)]
    before = {run.id: files(workdir.root / "runs" / run.id) for run in done}
    execute_runs(runs, workdir, {})
    assert all(map(workdir.is_done, runs))
    assert {run.id: files(workdir.root / "runs" / run.id) for run in done} == before
    assert set(starts(log).values()) == {1}


def test_a_failure_in_measuring_does_not_train_again(people, workdir, log, monkeypatch):
    one = study(people)

    def fails(*arguments, **options):
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(module, "predict_2d", fails)
        with pytest.raises(MemoryError):
            execute_runs([one.ft2d("hrnet")], workdir, {})
    assert not workdir.is_done(one.ft2d("hrnet"))
    execute_runs([one.ft2d("hrnet")], workdir, {})
    assert workdir.is_done(one.ft2d("hrnet"))
    assert set(starts(log).values()) == {1}


def test_other_lifters_measure_the_same_training_again(people, workdir, log):
    one = study(people)
    run = one.ft2d("hrnet")
    execute_runs([run], workdir, {})
    fewer = dataclasses.replace(run, lifters=run.lifters[:2])
    before, trained = workdir.outcome(run), starts(log)
    execute_runs([fewer], workdir, {})
    assert starts(log) == trained
    assert [words[0] for words in log()].count("measure") == 2
    found = workdir.outcome(fewer)
    assert found.lifters == before.lifters[:2]
    np.testing.assert_array_equal(found.kpts_px_NK2, before.kpts_px_NK2)
    for name in found.lifters:
        np.testing.assert_array_equal(found.pose_m(name), before.pose_m(name))
    assert workdir.outcome(run).lifters == before.lifters


def test_what_the_user_gives_is_read_and_never_written(people, workdir, log, tmp_path):
    given = {name: tmp_path / "mine" / name for name in ("rtmpose", "mixste")}
    for name, folder in given.items():
        folder.mkdir(parents=True)
        (folder / "toy.json").write_text(f'{{"number": {len(name)}}}')
    one = study(people, given={name: str(folder) for name, folder in given.items()})
    before = files(tmp_path / "mine"), files(people)
    runs = table_3(one)
    execute_runs(runs, workdir, {})
    assert (files(tmp_path / "mine"), files(people)) == before
    assert starts(log) == {run.id: 1 for run in runs if run.recipe}
    assert not (workdir.root / "data").exists()
    assert len({run.id for run in runs if run.given}) == 2
    assert workdir.place(one.start("rtmpose")) == given["rtmpose"]
    assert workdir.outcome(one.multi("rtmpose")).lifters == one.lifters


def test_data_is_made_once(workdir, monkeypatch):
    made = []

    def build(place, **settings):
        made.append(settings)
        toy_runs.build(place, **settings)

    monkeypatch.setattr("data_prep.synthetic.build.build_synthetic_people", build)
    settings = (("num_train", 6), ("seed", 3))
    source = Source("synthetic", settings=settings, lifter_split="poses", samples=6)
    one, again = Study(source, TINY), Study(source, TINY, seed=1)
    execute_runs([one.ft2d("hrnet"), again.ft2d("hrnet")], workdir, {})
    execute_runs([one.ft2d("rtmpose")], Workdir(workdir.root), {})
    assert made == [dict(settings)]
    (place,) = (workdir.root / "data").iterdir()
    assert f"data:{place.name}" == source.reference


def test_a_run_that_another_process_is_at_is_left_to_it(people, workdir, monkeypatch, capsys):
    """What does not need it is done first; it is taken over once the other has let go."""
    one = study(people)
    taken = one.lifter("simple_baseline")
    other, has_it, let_go = Workdir(workdir.root), threading.Event(), threading.Event()

    def elsewhere():
        with other.claim(taken.id) as mine:
            assert mine
            has_it.set()
            let_go.wait(300)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    has_it.wait(300)
    runs = table_3(one)
    independent = [run for run in runs if taken not in (run, *run.needs)]

    def release_when_waiting(seconds):
        if not let_go.is_set():
            done = [run for run in runs if workdir.is_done(run)]
            assert done == independent
            let_go.set()
        thread.join(20)

    clock = SimpleNamespace(sleep=release_when_waiting, perf_counter=time.perf_counter)
    monkeypatch.setattr(module, "time", clock)
    execute_runs(runs, workdir, {})
    assert all(map(workdir.is_done, runs))
    assert capsys.readouterr().out.count("Other processes are at the next runs; waiting") == 1
