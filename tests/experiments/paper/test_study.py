"""What the methods of a study are trained from, by which settings, and lifted by what."""

import dataclasses

import pytest

from liftjax.errors import LiftjaxError
from liftjax.experiments.paper.runs import Source, in_order
from liftjax.experiments.paper.scales import LIFTERS, SMALL, VIDEO_FRAMES
from tests.experiments.paper.studies import H36M, small_study, study

STUDIES = {"paper": study, "small": small_study}


@pytest.fixture(params=STUDIES)
def one(request):
    return STUDIES[request.param]()


def guides(run):
    """By name, the lifters that a run's recipe names."""
    by_reference = {f"run:{parent.id}": parent for parent in run.parents}
    return {name: by_reference[place] for name, place in run.recipe["lifters"].items()}


def methods(one, detector):
    singles = [one.single(detector, lifter) for lifter in one.lifters]
    left_out = [one.multi(detector, without=lifter) for lifter in one.lifters]
    return [one.ft2d(detector), *singles, one.multi(detector), *left_out]


def test_changes_to_what_is_so_anyway_are_no_changes(one):
    for detector in one.detectors:
        beta = one.beta(detector)
        plain = one.single(detector, "iganet")
        assert one.single(detector, "iganet", **{"loss.beta": beta}) == plain
        assert one.single(detector, "iganet", **{"loss.beta": 2 * beta}) != plain
        assert one.multi(detector, **{"loss.beta": beta}) == one.multi(detector)


def test_the_betas_of_the_scales():
    assert [study().beta(d) for d in study().detectors] == [100.0, 100.0, 100.0]
    assert small_study().beta("hrnet") == 30.0


def test_single_is_guided_by_one_and_lifted_by_all(one):
    for lifter in one.lifters:
        run = one.single("hrnet", lifter)
        assert guides(run) == {lifter: one.lifter(lifter)}
        assert [name for name, _ in run.lifters] == list(LIFTERS)
        assert run.recipe["loss"]["guidance"] == "single"


def test_who_is_left_out_does_not_guide_but_lifts(one):
    everyone = {name: one.lifter(name) for name in one.lifters}
    assert guides(one.multi("hrnet")) == everyone
    for lifter in one.lifters:
        run = one.multi("hrnet", without=lifter)
        others = {name: known for name, known in everyone.items() if name != lifter}
        assert guides(run) == others
        assert one.lifter(lifter) not in run.parents
        assert dict(run.lifters) == everyone
        assert run.recipe["loss"]["guidance"] == "multi"
    assert len(set(methods(one, "hrnet"))) == 1 + 4 + 1 + 4


def test_all_methods_start_from_one_detector_and_train_alike(one):
    for detector in one.detectors:
        first, *others = methods(one, detector)
        for run in others:
            assert run.recipe["detector"] == first.recipe["detector"]
            assert run.recipe["detector"]["checkpoint"] == f"run:{one.start(detector).id}"
            for key in first.recipe:
                if key not in ("lifters", "loss"):
                    assert run.recipe[key] == first.recipe[key], (run.title, key)
            for key in first.recipe["loss"]:
                if key != "guidance":
                    assert run.recipe["loss"][key] == first.recipe["loss"][key], (run.title, key)
            assert dict(run.lifters) == dict(first.lifters)


def test_the_paper_trains_forty_epochs_of_64():
    run = study().ft2d("hrnet")
    assert run.steps == 40 * H36M.samples // 64
    assert run.recipe["batch_size"] == 64


def test_titles_tell_runs_apart(one):
    runs = [run for detector in one.detectors for run in methods(one, detector)]
    runs += [one.single("hrnet", "simple_baseline", **{"loss.beta": 7.0})]
    titles = [run.title for run in in_order(runs)]
    assert len(set(titles)) == len(titles)
    assert "beta 7.0" in runs[-1].title


def test_dwpose_is_taught_by_rtmposes_first_detector_in_two_stages():
    one = small_study()
    head = one.start("dwpose")
    assert head.recipe["distill"]["stage"] == "head"
    (student,) = head.parents
    assert head.recipe["detector"]["checkpoint"] == f"run:{student.id}"
    assert student.recipe["distill"]["stage"] == "student"
    assert student.parents == (one.start("rtmpose"),)
    assert student.recipe["distill"]["teacher"] == f"run:{one.start('rtmpose').id}"
    assert head.recipe["task"] == student.recipe["task"] == "distill"
    assert head.steps == student.steps // 5
    assert SMALL.detectors["dwpose"].start_steps == student.steps
    assert one.start("dwpose") in one.ft2d("dwpose").parents


def test_another_seed_is_another_run_of_everything_and_the_same_data(one):
    other = {"paper": study, "small": small_study}[one.scale.name](seed=1)
    for run, anew in zip(
        in_order([*methods(one, "dwpose"), one.truth()]),
        in_order([*methods(other, "dwpose"), other.truth()]),
        strict=True,
    ):
        assert run != anew
        assert (anew.seed, anew.title, anew.source) == (1, run.title, run.source)
        if run.recipe:
            assert anew.recipe["seed"] == 1
            assert anew.recipe["data"] == run.recipe["data"]


def test_given_runs_stand_where_others_would_be_trained():
    one = small_study(given={"iganet": "/mine/iganet", "rtmpose": "/mine/rtmpose"})
    lifter, start = one.lifter("iganet"), one.start("rtmpose")
    assert (lifter.given, lifter.recipe, lifter.steps) == ("/mine/iganet", None, 0)
    assert (start.given, start.recipe) == ("/mine/rtmpose", None)
    run = one.multi("rtmpose")
    assert guides(run)["iganet"] == dict(run.lifters)["iganet"] == lifter
    assert start in run.parents
    trained = [r for r in in_order([run]) if r.recipe]
    assert [r.title for r in trained[:3]] == ["lifter SB", "lifter VPose", "lifter MixSTE"]
    assert len(trained) == 4
    # It teaches DWPose too, whose own is trained all the same.
    student = one.start("dwpose").parents[0]
    assert student.parents == (start,)
    assert run != small_study().multi("rtmpose")
    assert one.multi("hrnet", without="iganet").parents == tuple(
        small_study().multi("hrnet", without="iganet").parents
    )


def test_a_later_study_starts_from_an_earlier_ones_networks():
    earlier = small_study()
    recording = Source("multicam", samples=180)
    one = study(recording, SMALL, earlier=earlier, actions=())
    for detector in one.detectors:
        start = one.start(detector)
        assert start.parents == (earlier.start(detector),)
        assert start.recipe["detector"]["checkpoint"] == f"run:{earlier.start(detector).id}"
        assert start.recipe["task"] == "detector"
        assert start.steps == SMALL.steps
        assert one.ft2d(detector).parents == (start,)
    for name in one.lifters:
        lifter = one.lifter(name)
        assert lifter.parents == (earlier.lifter(name),)
        assert lifter.steps == SMALL.lifter_steps // 4
        assert lifter.source == recording
    sources = {run.source.name for run in in_order([one.multi("dwpose")])}
    assert sources == {"synthetic", "multicam"}


def test_unknown_lifters_are_named():
    with pytest.raises(LiftjaxError, match="did you mean 'mixste'"):
        small_study().single("hrnet", "mixst")
    with pytest.raises(LiftjaxError, match="did you mean 'iganet'"):
        small_study().multi("hrnet", without="iganett")


def test_clips_are_measured_with_what_is_trained_elsewhere():
    one = small_study()
    detector = one.multi("hrnet")
    run, truth = one.on_clips(detector), one.on_clips(None)
    assert run.parents == (detector,)
    assert (run.kind, run.recipe, run.steps) == ("measurement", None, 0)
    assert run.source == truth.source == one.clips != one.source
    assert run.lifters == truth.lifters
    lifters = dict(run.lifters)
    assert lifters["mixste"] == one.lifter("mixste")
    assert lifters[f"mixste {VIDEO_FRAMES}"] == one.video_lifter("mixste")
    assert len({detector, run, truth, one.truth(), one.on_clips(one.ft2d("hrnet"))}) == 5
    many = one.video_lifter("videopose3d")
    assert many.recipe["lifter"]["num_frames"] == VIDEO_FRAMES
    assert many.recipe["data"]["dir"] == one.clips.reference
    assert not any(one.video_lifter(name) in detector.needs for name in ("videopose3d", "mixste"))


def test_detectors_go_on_from_one_start_on_clips():
    """With the same samples and steps, and lifters of one or several frames."""
    one = small_study()
    methods = {
        "ft2d": one.ft2d_on_clips("hrnet"),
        "single": one.single_on_clips("hrnet", "mixste"),
        "one": one.multi_on_clips("hrnet", 1),
        "several": one.multi_on_clips("hrnet", VIDEO_FRAMES),
    }
    assert len(set(methods.values())) == 4
    for run in methods.values():
        assert run.source == one.clips
        assert run.parents[0] == one.start("hrnet")
        assert run.recipe["data"]["stride"] == one.clips.stride == 3
        assert run.steps == SMALL.steps
        assert [name for name, _ in run.lifters] == [
            "videopose3d", "videopose3d 27", "videopose3d 81", "mixste", "mixste 27", "mixste 81"
        ]  # fmt: skip
    assert methods["one"].parents[1:] == (one.lifter("videopose3d"), one.lifter("mixste"))
    several = one.video_lifter("videopose3d"), one.video_lifter("mixste")
    assert methods["several"].parents[1:] == several
    assert methods["single"].parents[1:] == several[1:]
    at_length = study(scale=dataclasses.replace(SMALL, steps=0), source=one.source)
    assert at_length.ft2d_on_clips("hrnet").steps == 40 * 320 // 32
