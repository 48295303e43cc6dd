"""Runs as values: equal recipes have equal names, and whatever differs has another."""

import dataclasses
import json

import pytest

from liftjax.errors import LiftjaxError
from liftjax.experiments.paper.runs import (
    Source,
    given_run,
    in_order,
    resolved,
    train_run,
    truth_run,
)
from liftjax.recipes import load_recipe
from tests.experiments.paper.studies import H36M, small_study, study

ABOUT = {"title": "a run", "kind": "detector", "seed": 0}
SETTINGS = {"steps": 100, "batch_size": 8, "loss.beta": 30.0, "seed": 0}
DIRECTORIES = ("/here/one", "/there/two")


def detector(source=H36M, recipe="ft2d", **changes):
    return train_run(recipe, SETTINGS | changes, source, **ABOUT)


def lifter(**changes):
    settings = {"lifter.name": "simple_baseline", "steps": 100, **changes}
    return train_run("lifter", settings, H36M, **(ABOUT | {"kind": "lifter"}))


def test_equal_settings_are_the_same_run_whatever_their_order():
    backwards = dict(reversed(SETTINGS.items()))
    run, other = detector(), train_run("ft2d", backwards, H36M, **ABOUT)
    assert (run.id, run) == (other.id, other)
    assert len({run, other}) == 1
    assert run.id.isalnum()


def test_a_title_does_not_make_another_run():
    assert detector() == train_run("ft2d", SETTINGS, H36M, **ABOUT | {"title": "other words"})


def test_a_setting_written_out_at_its_default_does_not_make_another_run():
    default = load_recipe("ft2d").loss.top_k
    assert detector() == detector(**{"loss.top_k": default})


def test_every_change_makes_another_run():
    guided = {"lifters.simple_baseline": lifter()}
    seeded = {"lifters.simple_baseline": lifter(seed=1)}
    runs = [
        detector(),
        detector(steps=101),
        detector(seed=1),
        detector(**{"loss.beta": 31.0}),
        detector(recipe="single_model"),
        detector(recipe="single_model", **guided),
        detector(recipe="single_model", **seeded),
        detector(**{"detector.checkpoint": detector()}),
        detector(source=Source("human36m", "/elsewhere", samples=1000)),
        detector(source=Source("synthetic", settings=(("seed", 0),))),
        detector(source=Source("synthetic", settings=(("seed", 1),))),
    ]
    assert len({run.id for run in runs}) == len(runs)


def test_given_runs_differ_by_their_directories():
    one, two = (given_run(directory, H36M, **ABOUT) for directory in DIRECTORIES)
    assert one.id != two.id
    assert one == given_run(DIRECTORIES[0], H36M, **ABOUT)
    assert detector(**{"detector.checkpoint": one}) != detector(**{"detector.checkpoint": two})


def test_ground_truth_differs_by_its_lifters():
    one, two = (("a", lifter()),), (("a", lifter(seed=1)),)
    assert truth_run(H36M, one, 0) == truth_run(H36M, one, 0) != truth_run(H36M, two, 0)


def test_other_lifters_give_another_outcome_of_the_same_training():
    run = study().ft2d("hrnet")
    fewer = dataclasses.replace(run, lifters=run.lifters[:1])
    assert fewer == run
    assert fewer.outcome_name != run.outcome_name


def test_an_unknown_setting_is_refused():
    with pytest.raises(LiftjaxError, match=r"did you mean 'loss\.beta'"):
        detector(**{"loss.betta": 1.0})


def strings(value):
    if isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def test_recipes_name_runs_and_data_and_no_place():
    given = {"simple_baseline": DIRECTORIES[0], "hrnet": DIRECTORIES[1]}
    one = study(given=given)
    run = one.multi("hrnet")
    assert not [text for text in strings(run.recipe) if "/" in text]
    assert run.recipe["data"]["dir"] == H36M.reference
    assert run.recipe["detector"]["checkpoint"] == f"run:{one.start('hrnet').id}"
    assert set(run.recipe["lifters"].values()) == {f"run:{p.id}" for p in run.parents[1:]}
    json.dumps(run.recipe)


def test_a_resolved_recipe_has_places_for_all_references_and_nothing_else_is_changed():
    run = study().multi("rtmpose")
    places = {f"run:{parent.id}": f"/runs/{parent.id}" for parent in run.parents}
    places[run.source.reference] = "/data/human36m"
    config = resolved(run.recipe, places)
    found = config.to_dict()
    assert not [t for t in strings(found) if t.startswith(("run:", "data:"))]
    assert config.data.dir == "/data/human36m"
    assert set(config.lifters.values()) == {f"/runs/{parent.id}" for parent in run.parents[1:]}
    assert config.detector.image_size == (384, 288)
    backwards = {place: reference for reference, place in places.items()}

    def back(value):
        if isinstance(value, dict):
            return {key: back(item) for key, item in value.items()}
        return backwards.get(value, value) if isinstance(value, str) else value

    assert back(found) == run.recipe


def test_a_reference_without_a_place_is_an_error():
    with pytest.raises(KeyError):
        resolved(study().ft2d("hrnet").recipe, {})


def test_in_order_has_everything_after_what_it_needs_and_once():
    one = small_study()
    wanted = [one.multi("dwpose"), one.truth(), one.ft2d("dwpose"), one.multi("dwpose")]
    ordered = in_order(wanted)
    assert len({run.id for run in ordered}) == len(ordered)
    assert set(wanted) <= set(ordered)
    for i, run in enumerate(ordered):
        assert all(needed in ordered[:i] for needed in run.needs), run.title
    # Both stages of DWPose, its teacher, and four lifters, besides the three wanted.
    assert len(ordered) == 3 + 3 + 4


def test_operations_grow_with_steps_and_with_the_picture():
    small = {"detector.image_size": (128, 96)}
    few, many = detector(**small), detector(**small, steps=200)
    assert many.operations == pytest.approx(2 * few.operations)
    larger = detector(**{"detector.image_size": (256, 192)})
    assert larger.operations == pytest.approx(4 * few.operations)
    assert lifter().operations > 0
    narrow = lifter(**{"lifter.overrides.linear_size": 64})
    assert narrow.operations < lifter().operations / 10
    assert study().truth().operations == given_run("/x", H36M, **ABOUT).operations == 0
