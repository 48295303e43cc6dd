"""The experiments of one seed on one data set, as runs: what starts from what, under which recipe.

lifters (ground-truth poses) --------------------------------.
first detector (2D labels)  ->  FT-2D                        |  for as many further steps
                            ->  single-model guidance   <----|
                            ->  multi-model guidance    <----'
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from liftjax.errors import check_name
from liftjax.experiments.paper import runs
from liftjax.experiments.paper.runs import Lifters, Run, Source
from liftjax.experiments.paper.scales import TESTED_FRAMES, VIDEO_FRAMES, TablesScale

DETECTOR_TITLES = {"hrnet": "HRNet", "rtmpose": "RTMPose", "dwpose": "DWPose"}
METHOD_TITLES = {
    "base": "first training",
    "ft2d": "FT-2D",
    "single": "single-model",
    "multi": "multi-model",
}
LIFTER_TITLES = {
    "simple_baseline": "SB",
    "iganet": "IGANet",
    "videopose3d": "VPose",
    "mixste": "MixSTE",
}


@dataclasses.dataclass(frozen=True)
class Study:
    """All experiments of one seed on one data set; its methods describe runs and run nothing.

    Attributes:
      source: the data.
      scale: the size.
      seed: of everything that is trained.
      given: the user's run directories for first detectors and lifters, by row and name.
      earlier: a study whose detectors and lifters this one starts from.
      clips: data whose test split is clips, and on which lifters of several frames are trained;
        detectors too, if it has samples.
      actions: of the test split, in the order of the tables.
    """

    source: Source
    scale: TablesScale
    seed: int = 0
    given: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    earlier: "Study | None" = None
    clips: Source | None = None
    actions: tuple[str, ...] = ()

    @property
    def data(self) -> str:
        """The name of the data set."""
        return self.source.name

    @property
    def detectors(self) -> tuple[str, ...]:
        """Rows of the tables."""
        return tuple(self.scale.detectors)

    @property
    def lifters(self) -> tuple[str, ...]:
        """Columns of the tables."""
        return tuple(self.scale.lifters)

    def beta(self, detector: str) -> float:
        """The beta of a detector's soft-argmax in all runs that do not vary it."""
        return self.ft2d(detector).recipe["loss"]["beta"]

    def truth(self) -> Run:
        """Ground-truth 2D through the lifters."""
        return runs.truth_run(self.source, self._lifters, self.seed)

    def lifter(self, name: str) -> Run:
        """A lifter, trained on ground-truth poses."""
        steps, settings = self.scale.lifter_steps, {**self.scale.lifters[name], "lifter.name": name}
        if self.earlier:
            steps = max(1, steps // 4)
            settings["lifter.checkpoint"] = self.earlier.lifter(name)
        title = f"lifter {LIFTER_TITLES[name]}"
        return self._train_lifter(name, title, self.source, settings, steps)

    def video_lifter(self, name: str, frames: int = VIDEO_FRAMES) -> Run:
        """A lifter of several frames, trained on ground-truth clips."""
        settings = {**self.scale.video_lifters[name], "lifter.name": name}
        settings["lifter.num_frames"] = frames
        title = f"lifter {LIFTER_TITLES[name]}, {frames} frames"
        steps = self.scale.lifter_steps
        return self._train_lifter(f"{name}_{frames}", title, self.clips, settings, steps)

    def start(self, detector: str) -> Run:
        """The detector that FT-2D and the guided ones go on from; trained on 2D labels alone."""
        setup = self.scale.detectors[detector]
        about = {"kind": "detector", "method": "base", "detector": detector, "seed": self.seed}
        about["title"] = f"{DETECTOR_TITLES[detector]}, first training in 2D"
        if detector in self.given:
            return runs.given_run(self.given[detector], self.source, **about)
        settings, length = self._detector_settings(detector), self._length
        if self.earlier:
            settings["detector.checkpoint"] = self.earlier.start(detector)
            return self._train("ft2d", settings, length, about)
        settings |= setup.start
        train = self._distill if setup.teacher else functools.partial(self._train, "ft2d")
        return train(settings, setup.start_steps or length, about)

    def ft2d(self, detector: str) -> Run:
        """The baseline: further steps on 2D labels alone."""
        return self._further("ft2d", detector, {}, "FT-2D", "ft2d")

    def single(self, detector: str, lifter: str, **changes: Any) -> Run:
        """Guided by one lifter; `changes` are settings, as {"loss.beta": 50.0}."""
        lifters = {f"lifters.{lifter}": self.lifter(self._known(lifter))}
        title = f"single-model, {LIFTER_TITLES[lifter]}"
        return self._further("single_model", detector, lifters | changes, title, "single")

    def multi(self, detector: str, without: str | None = None, **changes: Any) -> Run:
        """Guided by all lifters, or all `without` one."""
        names = [n for n in self.lifters if without is None or n != self._known(without)]
        lifters = {f"lifters.{name}": self.lifter(name) for name in names}
        title = "multi-model" + (f" w/o {LIFTER_TITLES[without]}" if without else "")
        return self._further("multi_model", detector, lifters | changes, title, "multi")

    def on_clips(self, detector: Run | None) -> Run:
        """A trained detector on clips, through lifters of one and of several frames.

        None takes ground-truth 2D poses.
        """
        if detector is None:
            return runs.truth_run(self.clips, self._clip_lifters, self.seed)
        return runs.measurement(detector, self.clips, self._clip_lifters, "on clips")

    @property
    def trains_on_clips(self) -> bool:
        """Whether there are clips to train detectors on, and lifters of one frame beside those."""
        both = self.scale.video_lifters.keys() <= self.scale.lifters.keys()
        return self.clips is not None and self.clips.samples > 0 and both

    def ft2d_on_clips(self, detector: str) -> Run:
        """The baseline of guidance on clips: 2D labels alone."""
        return self._further("ft2d", detector, {}, "FT-2D", "ft2d", on_clips=True)

    def single_on_clips(self, detector: str, lifter: str) -> Run:
        """Guided on clips by one lifter of `VIDEO_FRAMES` frames."""
        lifters = {f"lifters.{lifter}": self.video_lifter(lifter)}
        title = f"single-model, {LIFTER_TITLES[lifter]} of {VIDEO_FRAMES} frames"
        return self._further("single_model", detector, lifters, title, "single", on_clips=True)

    def multi_on_clips(self, detector: str, frames: int) -> Run:
        """Guided on clips by all lifters of `scale.video_lifters`, each of `frames` frames."""
        lifters = {f"lifters.{n}": self._of_frames(n, frames) for n in self.scale.video_lifters}
        title = f"multi-model, {frames} frame{'s' if frames > 1 else ''}"
        return self._further("multi_model", detector, lifters, title, "multi", on_clips=True)

    def _of_frames(self, lifter: str, frames: int) -> Run:
        return self.lifter(lifter) if frames == 1 else self.video_lifter(lifter, frames)

    @functools.cached_property
    def _clip_lifters(self) -> Lifters:
        """Lifters of one and of several frames: `NAME` and `NAME 27`."""
        return tuple(
            (name if frames == 1 else f"{name} {frames}", self._of_frames(name, frames))
            for name in self.scale.video_lifters
            for frames in TESTED_FRAMES
        )

    @functools.cached_property
    def _lifters(self) -> Lifters:
        return tuple((name, self.lifter(name)) for name in self.lifters)

    def _known(self, lifter: str) -> str:
        check_name("lifter", lifter, self.scale.lifters)
        return lifter

    @property
    def _length(self) -> int:
        """Steps of FT-2D and of guided training."""
        return self.scale.length(self.source.samples)

    def _detector_settings(self, detector: str) -> dict[str, Any]:
        return {
            "batch_size": self.scale.batch_size,
            "detector.name": self.scale.detectors[detector].preset,
            "detector.image_size": self.scale.image_size,
            **self.scale.detector_settings,
        }

    def _train_lifter(
        self, given: str, title: str, source: Source, settings: Mapping, steps: int
    ) -> Run:
        about = {"title": title, "kind": "lifter", "seed": self.seed}
        if given in self.given:
            return runs.given_run(self.given[given], source, **about)
        settings = {**self.scale.lifter_settings, **settings, "data.split": source.lifter_split}
        return self._train("lifter", settings, steps, about, source)

    def _further(
        self,
        recipe: str,
        detector: str,
        more: Mapping,
        title: str,
        method: str,
        on_clips: bool = False,
    ) -> Run:
        """Steps that go on from the first detector, on samples of the data or of the clips."""
        settings = self._detector_settings(detector) | self.scale.detectors[detector].settings
        settings |= {"detector.checkpoint": self.start(detector), **more}
        changed = [f"{k.rsplit('.')[-1]} {v}" for k, v in more.items() if not isinstance(v, Run)]
        about = {
            "title": ", ".join([DETECTOR_TITLES[detector], title, *changed]),
            "kind": "detector",
            "method": method,
            "detector": detector,
            "seed": self.seed,
            "lifters": self._clip_lifters if on_clips else self._lifters,
        }
        if not on_clips:
            return self._train(recipe, settings, self._length, about)
        about["title"] += ", on clips"
        length = self.scale.length(self.clips.samples)
        return self._train(recipe, settings, length, about, self.clips)

    def _distill(self, settings: Mapping, steps: int, about: Mapping) -> Run:
        """DWPose's two stages: taught by another detector, then a fresh head by the old one."""
        # The recipes' own optimizer is the one for distillation.
        own = {k: v for k, v in settings.items() if not k.startswith("optim.")}
        own |= {"optim.learning_rate": 4e-3}
        teacher = self.start(self.scale.detectors[about["detector"]].teacher)
        first_about = about | {"title": f"{about['title']}, taught"}
        taught = own | {"distill.teacher": teacher}
        student = self._train("distill_student", taught, steps, first_about)
        head = own | {"detector.checkpoint": student}
        return self._train("distill_head", head, max(1, steps // 5), about)

    def _train(
        self,
        recipe: str,
        settings: Mapping,
        steps: int,
        about: Mapping,
        source: Source | None = None,
    ) -> Run:
        settings = {**settings, "steps": steps, "seed": self.seed}
        settings["checkpoint_every"] = min(steps, 1000)
        stride = (source or self.source).stride
        if stride > 1 and about["kind"] == "detector":
            settings["data.stride"] = stride
        if self.scale.steps:  # a small scale, whose warm-up is to be short
            key, limit = "optim.warmup_steps", min(50, steps // 2)
            settings[key] = min(settings.get(key, limit), limit)
        return runs.train_run(recipe, settings, source or self.source, **about)
