"""What the paper finds, as claims that are checked on what was measured, and said true or not.

A claim is a list of comparisons. It is true if every interval lies wholly on the claimed side,
false if any lies wholly on the other, and else undecided: nothing is said of an interval that
spans zero. Intervals are not widened for being many; that all must agree makes "true" the harder
verdict, and a claim of many parts is the more easily called false.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

from liftjax.experiments.paper.measures import Measure, average, mpjpe, once, pck
from liftjax.experiments.paper.outcomes import Outcomes
from liftjax.experiments.paper.published import BETAS
from liftjax.experiments.paper.runs import Run
from liftjax.experiments.paper.scales import VIDEO_FRAMES
from liftjax.experiments.paper.statistics import Paired, paired
from liftjax.experiments.paper.study import DETECTOR_TITLES, LIFTER_TITLES, Study

TRUE, FALSE, UNDECIDED = "true", "false", "undecided"
PCK_MARGIN = 1.0  # points by which PCK "hardly changes"

_SB = "simple_baseline"
_CROSS_VALIDATED = ("hrnet", "dwpose")  # in Tables 4 and 5


@dataclasses.dataclass(frozen=True)
class Part:
    """One comparison, a - b, with its claim.

    Attributes:
      what: the comparison in words.
      a, b: what is compared.
      margin: the claim: that a is within so much of b; None: that a is below b.
    """

    what: str
    a: Measure
    b: Measure
    margin: float | None = None

    def verdict(self, found: Paired) -> str:
        """What an interval says of the claim."""
        if self.margin is None:
            holds, fails = found.high < 0, found.low > 0
        else:
            holds = -self.margin < found.low and found.high < self.margin
            fails = found.low > self.margin or found.high < -self.margin
        return TRUE if holds else FALSE if fails else UNDECIDED


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement that holds if all its parts do, for the runs of one seed."""

    key: str
    statement: str
    parts: tuple[Part, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """What must have been run."""
        measures = [measure for part in self.parts for measure in (part.a, part.b)]
        return once(run for measure in measures for run in measure.runs)


def claims(study: Study) -> tuple[Claim, ...]:
    """The paper's findings, of the detectors and lifters that the study has."""
    own = study.beta("hrnet") if "hrnet" in study.detectors else 100
    found = [
        ("multi_below_ft2d",
         "Multi-model guidance lowers the mean MPJPE over lifters, for every detector",
         _multi_below_ft2d(study)),
        ("single_below_ft2d",
         "Single-model guidance lowers the MPJPE of its own lifter, for every detector",
         _single_below_ft2d(study)),
        ("multi_better_on_unseen",
         "On a lifter unseen in training, multi-model guidance is better than single-model",
         _multi_better_on_unseen(study)),
        ("beta_1_worst", "β = 1 is the worst of those tried", _beta_parts(study, worst=1)),
        ("beta_100_best", "β = 100 is the best of those tried", _beta_parts(study, best=100)),
        ("beta_own_best", f"β = {own:g}, chosen for this scale, is the best of those tried",
         () if own in BETAS else _beta_parts(study, best=own)),
        ("softmax_not_worse", "Soft-argmax by softmax is at least as good as by ReLU",
         _softmax_below_relu(study)),
        ("pck_unchanged",
         "PCK@0.2 hardly changes while MPJPE falls, for every detector (multi-model)",
         _pck_unchanged(study)),
        ("clips_below_ft2d",
         f"Guidance by lifters of {VIDEO_FRAMES} frames lowers the MPJPE of the same lifters, "
         "compared with FT-2D, for every detector",
         _clips_below(study, "FT-2D")),
        ("clips_below_one_frame",
         f"Measured with lifters of {VIDEO_FRAMES} frames, guidance by lifters of "
         f"{VIDEO_FRAMES} frames gives a lower MPJPE than guidance by lifters of one frame",
         _clips_below(study, "1 frame")),
    ]  # fmt: skip
    made = [Claim(key, statement, tuple(parts)) for key, statement, parts in found]
    return tuple(claim for claim in made if claim.parts)


def check_findings(studies: Sequence[Study], outcomes: Outcomes) -> list[dict]:
    """The claims whose runs have all been done, as the report holds them.

    Args:
      studies: of one data set, one a seed; a claim is checked on those seeds that have its runs.
      outcomes: of the runs that have been done.
    """
    by_key: dict[str, list[Claim]] = {}
    for study in studies:
        for claim in claims(study):
            if all(run.id in outcomes for run in claim.runs):
                by_key.setdefault(claim.key, []).append(claim)
    checked = [_checked(seeds, outcomes) for seeds in by_key.values()]
    return [finding for finding in checked if finding]


def _checked(seeds: Sequence[Claim], outcomes: Outcomes) -> dict | None:
    """A finding from one claim of each seed; None if the samples are too few for an interval."""
    parts = []
    for same in zip(*(claim.parts for claim in seeds), strict=True):
        a, b = ([getattr(part, side).of(outcomes) for part in same] for side in "ab")
        found = paired(a, b)
        if not (math.isfinite(found.low) and math.isfinite(found.high)):
            return None
        # The test is of "no difference", which is not the claim where there is a margin.
        p = None if same[0].margin is not None else found.p
        part = {"what": same[0].what} | found._asdict() | {"p": p, "unit": same[0].a.unit}
        parts.append(part | {"verdict": same[0].verdict(found)})
    verdicts = {part["verdict"] for part in parts}
    verdict = FALSE if FALSE in verdicts else UNDECIDED if UNDECIDED in verdicts else TRUE
    return {
        "key": seeds[0].key, "claim": seeds[0].statement, "verdict": verdict, "parts": parts
    }  # fmt: skip


# The comparisons of each claim


def _multi_below_ft2d(study: Study) -> Iterator[Part]:
    for detector in study.detectors:
        what = f"{DETECTOR_TITLES[detector]}, multi-model against FT-2D"
        yield Part(what, mpjpe(study.multi(detector)), mpjpe(study.ft2d(detector)))


def _single_below_ft2d(study: Study) -> Iterator[Part]:
    for detector in study.detectors:
        for lifter in study.lifters:
            what = f"{DETECTOR_TITLES[detector]} with {LIFTER_TITLES[lifter]}, single-model"
            guided = mpjpe(study.single(detector, lifter), lifter)
            yield Part(f"{what} against FT-2D", guided, mpjpe(study.ft2d(detector), lifter))


def _multi_better_on_unseen(study: Study) -> Iterator[Part]:
    """Means over the lifter left out; of single-model, over its runs with each other lifter too."""
    for detector in (name for name in _CROSS_VALIDATED if name in study.detectors):
        if len(study.lifters) < 2:
            continue
        multi, single = [], []
        for unseen in study.lifters:
            multi.append(mpjpe(study.multi(detector, without=unseen), unseen))
            seen = [lifter for lifter in study.lifters if lifter != unseen]
            single.append(average([mpjpe(study.single(detector, s), unseen) for s in seen]))
        what = f"{DETECTOR_TITLES[detector]}, multi-model against single-model, mean over lifters"
        yield Part(what, average(multi), average(single))


def _beta_parts(
    study: Study, best: float | None = None, worst: float | None = None
) -> Iterator[Part]:
    """The best or the worst beta against each other one, of HRNet guided by SB as in Table 6."""
    if "hrnet" not in study.detectors or _SB not in study.lifters:
        return
    betas = sorted({*BETAS, study.beta("hrnet")})
    runs = {beta: study.single("hrnet", _SB, **{"loss.beta": float(beta)}) for beta in betas}
    for beta in (beta for beta in betas if beta not in (best, worst)):
        a, b = (best, beta) if worst is None else (beta, worst)
        yield Part(f"β = {a:g} against β = {b:g}", mpjpe(runs[a], _SB), mpjpe(runs[b], _SB))


def _softmax_below_relu(study: Study) -> Iterator[Part]:
    if "rtmpose" in study.detectors and _SB in study.lifters:
        relu = study.single("rtmpose", _SB, **{"loss.normalizer": "relu"})
        softmax = study.single("rtmpose", _SB)
        yield Part("RTMPose with SB, softmax against ReLU", mpjpe(softmax, _SB), mpjpe(relu, _SB))


def _clips_below(study: Study, other: str) -> Iterator[Part]:
    """Guidance by both lifters of several frames against another training, on clips.

    Means over these lifters. The other training is "FT-2D", or guidance by lifters of "1 frame".
    """
    tested = [f"{lifter} {VIDEO_FRAMES}" for lifter in study.scale.video_lifters]
    for detector in study.detectors if study.trains_on_clips else ():
        guided = study.multi_on_clips(detector, VIDEO_FRAMES)
        single = study.multi_on_clips(detector, 1)
        plain = {"FT-2D": study.ft2d_on_clips(detector), "1 frame": single}[other]
        a, b = (average([mpjpe(run, name) for name in tested]) for run in (guided, plain))
        yield Part(f"{DETECTOR_TITLES[detector]}, {VIDEO_FRAMES} frames against {other}", a, b)


def _pck_unchanged(study: Study) -> Iterator[Part]:
    for detector in study.detectors:
        guided, plain = study.multi(detector), study.ft2d(detector)
        title = DETECTOR_TITLES[detector]
        what = f"{title}, PCK@0.2 within {PCK_MARGIN:g} point of FT-2D"
        yield Part(what, pck(guided), pck(plain), PCK_MARGIN)
        yield Part(f"{title}, MPJPE below FT-2D", mpjpe(guided), mpjpe(plain))
