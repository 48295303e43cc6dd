"""Claims: what is compared, which verdict an interval gives, and that zero inside it gives none."""

import dataclasses
import json
import math
import zlib

import numpy as np
import pytest

from liftjax.experiments.paper.findings import Claim, Part, check_findings, claims
from liftjax.experiments.paper.measures import mpjpe, pck
from liftjax.experiments.paper.scales import SMALL
from liftjax.experiments.paper.statistics import Paired
from tests.experiments.paper.hand_made import Run, labels, outcome

LIFTERS = ("simple_baseline", "iganet", "videopose3d", "mixste")
CLIP_LIFTERS = ("videopose3d 27", "mixste 27")
ACTIONS = ["Eating"] * 200
TRUTH = labels(ACTIONS)


@dataclasses.dataclass(frozen=True)
class ToyStudy:
    """A study whose runs are named after what they are."""

    seed: int = 0
    detectors: tuple[str, ...] = ("hrnet", "rtmpose", "dwpose")
    lifters: tuple[str, ...] = LIFTERS
    own_beta: float = 100.0
    trains_on_clips: bool = False
    scale = SMALL

    def beta(self, detector):
        return self.own_beta

    def ft2d(self, detector):
        return self._run("ft2d", detector)

    def single(self, detector, lifter, **changes):
        return self._run("single", detector, lifter, **changes)

    def multi(self, detector, without=None, **changes):
        return self._run("multi", detector, *([f"without:{without}"] if without else []), **changes)

    def ft2d_on_clips(self, detector):
        return self._run("ft2d", detector, "clips")

    def multi_on_clips(self, detector, frames):
        return self._run("multi", detector, "clips", f"frames:{frames}")

    def _run(self, *words, **changes):
        changes = {k: v for k, v in changes.items() if (k, v) != ("loss.beta", self.own_beta)}
        changed = [f"{key}={value}" for key, value in changes.items()]
        return Run(" ".join([*words, *changed, f"seed{self.seed}"]))


def runs_of(study):
    return {run.id for claim in claims(study) for run in claim.runs}


def outcomes_of(study, mm, px=lambda words: 0.0, spread=5.0):
    """An outcome of every run, from the words of its name to its mean error of each lifter."""
    found = {}
    for name in sorted(runs_of(study)):
        noise = np.random.default_rng(zlib.crc32(name.encode())).normal(0, spread, len(ACTIONS))
        noise -= noise.mean()  # leaves the differences of means to `mm` alone
        words = name.split()
        tested = CLIP_LIFTERS if "clips" in words else LIFTERS
        errors = {lifter: np.maximum(mm(words, lifter) + noise, 0) for lifter in tested}
        found[name] = outcome(TRUTH, errors, np.full(len(ACTIONS), px(words)))
    return found


def papers_pattern(words, lifter):
    """Errors (mm) that make every claim true, by plain margins of several millimetres."""
    if words[0] == "ft2d":
        return 60
    for word in words:
        if word.startswith("loss.beta="):
            beta = float(word.removeprefix("loss.beta="))
            return {1: 300, 10: 66, 50: 62, 200: 63, 500: 70}[beta]
        if word == "loss.normalizer=relu":
            return 58
    if words[0] == "multi":
        return 50
    return 52 if lifter in words else 56


def by_key(found):
    return {finding["key"]: finding for finding in found}


def verdicts(found):
    return {finding["key"]: finding["verdict"] for finding in found}


# Verdicts


@pytest.mark.parametrize(
    ("low", "high", "margin", "verdict"),
    [
        (-3, -0.1, None, "true"),
        (0.1, 3, None, "false"),
        (-3, 0.1, None, "undecided"),
        (-3, 0.0, None, "undecided"),
        (0.0, 3, None, "undecided"),
        (-0.5, 0.9, 1, "true"),
        (0.2, 0.9, 1, "true"),
        (-0.5, 1.1, 1, "undecided"),
        (-2, 2, 1, "undecided"),
        (1.1, 2, 1, "false"),
        (-2, -1.1, 1, "false"),
        (math.nan, math.nan, None, "undecided"),
    ],
)
def test_verdict_of_an_interval(low, high, margin, verdict):
    part = Part("what", mpjpe(Run("a")), mpjpe(Run("b")), margin)
    assert part.verdict(Paired((low + high) / 2, low, high, 0.5, "samples")) == verdict


def test_the_papers_pattern_makes_all_true():
    study = ToyStudy()
    found = check_findings([study], outcomes_of(study, papers_pattern))
    assert verdicts(found) == {
        "multi_below_ft2d": "true",
        "single_below_ft2d": "true",
        "multi_better_on_unseen": "true",
        "beta_1_worst": "true",
        "beta_100_best": "true",
        "softmax_not_worse": "true",
        "pck_unchanged": "true",
    }
    json.dumps(found, allow_nan=False)


def test_guidance_on_clips_is_compared_through_the_lifters_of_several_frames():
    def mm(words, lifter):
        if "frames:27" in words:
            return 50
        return {"ft2d": 60, "multi": 45}[words[0]] if "clips" in words else 60

    study = ToyStudy(trains_on_clips=True)
    found = by_key(check_findings([study], outcomes_of(study, mm)))
    assert found["clips_below_ft2d"]["verdict"] == "true"
    assert found["clips_below_one_frame"]["verdict"] == "false"
    parts = {part["what"]: part["difference"] for part in found["clips_below_ft2d"]["parts"]}
    assert parts["DWPose, 27 frames against FT-2D"] == pytest.approx(-10, abs=1)
    assert len(parts) == 3


def test_one_part_on_the_other_side_makes_it_false():
    study = ToyStudy()

    def dwpose_suffers(words, lifter):
        return 70 if words[:2] == ["multi", "dwpose"] else papers_pattern(words, lifter)

    found = by_key(check_findings([study], outcomes_of(study, dwpose_suffers)))
    claim = found["multi_below_ft2d"]
    assert [part["verdict"] for part in claim["parts"]] == ["true", "true", "false"]
    assert claim["verdict"] == "false"
    assert claim["parts"][2]["what"] == "DWPose, multi-model against FT-2D"
    assert claim["parts"][2]["difference"] == pytest.approx(10, abs=2)
    assert found["multi_better_on_unseen"]["verdict"] == "false"  # 70 against 56
    assert found["single_below_ft2d"]["verdict"] == "true"


def test_nothing_is_said_of_an_interval_that_spans_zero():
    study = ToyStudy()
    found = check_findings([study], outcomes_of(study, lambda words, lifter: 60, spread=20))
    for finding in found:
        for part in finding["parts"]:
            spans = part["low"] <= 0 <= part["high"]
            if spans and part["unit"] == "mm":
                assert part["verdict"] == "undecided"
                assert finding["verdict"] != "true"
    assert verdicts(found)["multi_below_ft2d"] == "undecided"


def test_false_outweighs_undecided():
    study = ToyStudy()

    def mixed(words, lifter):
        return {"hrnet": 60, "rtmpose": 50, "dwpose": 70}[words[1]] if words[0] == "multi" else 60

    found = by_key(check_findings([study], outcomes_of(study, mixed, spread=10)))
    parts = [part["verdict"] for part in found["multi_below_ft2d"]["parts"]]
    assert parts == ["undecided", "true", "false"]
    assert found["multi_below_ft2d"]["verdict"] == "false"


# What is compared


def test_unseen_lifters_are_never_trained_with():
    """Each lifter has its error say who trained with it: 1000 where that must not be looked at."""
    study = ToyStudy(detectors=("hrnet", "dwpose"))
    number = {lifter: i for i, lifter in enumerate(LIFTERS)}

    def mm(words, lifter):
        if words[0] == "multi" and words[2].startswith("without:"):
            seen = lifter != words[2].removeprefix("without:")
            return 1000 if seen else 50 + number[lifter]
        if words[0] == "single":
            return 1000 if lifter == words[2] else 60 + 4 * number[words[2]]
        return 1000

    found = by_key(check_findings([study], outcomes_of(study, mm, spread=0)))
    hrnet, dwpose = found["multi_better_on_unseen"]["parts"]
    # 50 + mean of 0..3 against 60 + 4 times the same mean: each lifter trains for three others.
    assert hrnet["difference"] == pytest.approx(51.5 - 66, rel=1e-4)
    assert dwpose["difference"] == pytest.approx(51.5 - 66, rel=1e-4)


def test_single_model_is_judged_by_its_own_lifter():
    study = ToyStudy(detectors=("rtmpose",))
    number = {lifter: i for i, lifter in enumerate(LIFTERS)}

    def mm(words, lifter):
        own = words[0] == "single" and lifter == words[2]
        return 100 - 10 * number[lifter] if own else 200 + number[lifter]

    found = by_key(check_findings([study], outcomes_of(study, mm, spread=0)))
    parts = found["single_below_ft2d"]["parts"]
    assert [round(part["difference"]) for part in parts] == [-100, -111, -122, -133]


def test_pck_is_allowed_a_point():
    """A keypoint 25 px off where 20 are allowed takes all of a sample's joints."""
    study = ToyStudy(detectors=("hrnet",))
    outcomes = outcomes_of(study, papers_pattern)
    wrong = np.zeros(len(ACTIONS))
    wrong[:20] = 25
    guided = outcomes[study.multi("hrnet").id]
    errors = {lifter: np.full(len(ACTIONS), 50.0) for lifter in LIFTERS}
    outcomes[study.multi("hrnet").id] = outcome(guided.labels, errors, wrong)
    claim = by_key(check_findings([study], outcomes))["pck_unchanged"]
    change, fall = claim["parts"]
    assert change["difference"] == pytest.approx(-10)
    assert (change["unit"], fall["unit"]) == ("%", "mm")
    assert (change["verdict"], fall["verdict"]) == ("false", "true")
    assert change["p"] is None
    assert claim["verdict"] == "false"


def test_a_beta_of_our_own_is_a_claim_of_its_own():
    study = ToyStudy(own_beta=30.0)

    def mm(words, lifter):
        if words[:3] == ["single", "hrnet", "simple_baseline"] and len(words) == 4:
            return 40
        if "loss.beta=100.0" in words:
            return 45
        return papers_pattern(words, lifter)

    found = by_key(check_findings([study], outcomes_of(study, mm)))
    assert found["beta_own_best"]["verdict"] == "true"
    assert found["beta_own_best"]["claim"].startswith("β = 30")
    assert len(found["beta_own_best"]["parts"]) == 6
    assert found["beta_100_best"]["verdict"] == "false"
    assert "beta_own_best" not in {claim.key for claim in claims(ToyStudy())}


# Which runs


def test_claims_without_their_runs_are_left_out():
    study = ToyStudy()
    outcomes = outcomes_of(study, papers_pattern)
    del outcomes[study.single("rtmpose", "simple_baseline", **{"loss.normalizer": "relu"}).id]
    del outcomes[study.multi("hrnet", without="mixste").id]
    left = set(verdicts(check_findings([study], outcomes)))
    everything = {claim.key for claim in claims(study)}
    assert everything - left == {"softmax_not_worse", "multi_better_on_unseen"}
    assert check_findings([study], {}) == []


def test_a_study_of_less_claims_less():
    keys = {claim.key for claim in claims(ToyStudy(detectors=("rtmpose",), lifters=("mixste",)))}
    assert keys == {"multi_below_ft2d", "single_below_ft2d", "pck_unchanged"}


def test_several_seeds_are_tested_over_seeds_each_claim_on_those_it_has():
    studies = [ToyStudy(seed) for seed in range(3)]
    outcomes = {}
    for study in studies:
        outcomes |= outcomes_of(study, papers_pattern)
    for study in studies[1:]:  # the ablations were run once
        del outcomes[study.single("hrnet", "simple_baseline", **{"loss.beta": 1.0}).id]
    found = by_key(check_findings(studies, outcomes))
    assert {part["over"] for part in found["multi_below_ft2d"]["parts"]} == {"seeds"}
    assert {part["over"] for part in found["beta_1_worst"]["parts"]} == {"samples"}
    part = found["multi_below_ft2d"]["parts"][0]
    means = [outcomes[s.multi("hrnet").id].error_mm("mixste").mean() for s in studies]
    base = [outcomes[s.ft2d("hrnet").id].error_mm("mixste").mean() for s in studies]
    assert part["difference"] == pytest.approx(np.mean(means) - np.mean(base))


def test_too_few_samples_say_nothing():
    study = ToyStudy(detectors=("hrnet",))
    truth = labels(["Eating"])
    one = {name: outcome(truth, {n: [5.0] for n in LIFTERS}) for name in runs_of(study)}
    assert check_findings([study], one) == []


def test_runs_of_a_claim_are_named_once():
    claim = Claim("key", "statement", (Part("what", mpjpe(Run("a")), pck(Run("b"))),) * 2)
    assert claim.runs == (Run("a"), Run("b"))
