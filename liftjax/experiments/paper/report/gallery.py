"""The pictures of a report: figures, and the poses of its interactive view."""

import base64
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from etils import epath

from liftjax import geometry, viewer
from liftjax.data.records import PoseDataset
from liftjax.experiments.paper.execute import Workdir
from liftjax.experiments.paper.outcomes import Outcome, Outcomes
from liftjax.experiments.paper.report import figures, maps
from liftjax.experiments.paper.report.explain import explain_error, limb_contrast
from liftjax.experiments.paper.report.moved import draw_moved
from liftjax.experiments.paper.runs import Run
from liftjax.experiments.paper.study import DETECTOR_TITLES, METHOD_TITLES

Pairs = Mapping[str, tuple[Run, Run]]  # by detector: FT-2D and guided

_SHOWN_POSES = 8  # in the interactive view
_QUALITATIVE = ("hrnet", "dwpose")  # the paper's Figure 1
_FAILING = "rtmpose"  # Figure 2
_MAPPED = "hrnet"


def draw_figures(
    pairs: Pairs,
    outcomes: Outcomes,
    truth: Outcome | None,
    dataset: PoseDataset,
    workdir: Workdir,
    folder: epath.Path,
    moved: Sequence[dict],
) -> list[dict]:
    """Draws every figure whose runs are there, as files in `folder`; what the report says of it.

    Args:
      truth: of ground-truth 2D; without it no failures are drawn.
      dataset: the samples of the outcomes.
      moved: the report's rows of what guidance moved.
    """
    if not pairs:
        return []
    drawn = []

    def add(name: str, title: str, draw, *arguments) -> None:
        caption = draw(folder / name, *arguments)
        key = name.partition(".")[0]
        drawn.append({"key": key, "title": title, "caption": caption, "file": name})

    shown = {}
    for name, runs in pairs.items():
        methods = tuple(METHOD_TITLES[run.method] for run in runs)
        found = (outcomes[run.id] for run in runs)
        shown[name] = figures.Pair(DETECTOR_TITLES[name], *found, methods)
    some = [name for name in _QUALITATIVE if name in pairs] or list(pairs)
    failing, mapped = (name if name in pairs else some[0] for name in (_FAILING, _MAPPED))
    lifter = next(iter(shown.values())).ft2d.lifters[0]
    add("qualitative.jpg", "Qualitative comparison", figures.qualitative,
        [shown[name] for name in some], dataset, lifter)  # fmt: skip
    if truth is not None:
        run = pairs[failing][1]
        beta = run.recipe["loss"]["beta"]
        peaks_NK = maps.peak_heights(workdir.detector(run), dataset, beta)
        contrast_N = limb_contrast(dataset)
        terms = explain_error(shown[failing].guided, truth, lifter, contrast_N, peaks_NK)
        add("failures.jpg", "Failures", figures.failures, shown[failing], dataset, lifter, terms)
    samples = figures.by_improvement(shown[mapped], lifter, (97, 5))
    detectors = [workdir.detector(run) for run in pairs[mapped]]
    few, beta = dataset.select(np.asarray(samples)), pairs[mapped][0].recipe["loss"]["beta"]
    arrays = tuple(maps.heatmaps(detector, few, beta) for detector in detectors)
    add("heatmaps.jpg", "Heatmaps before and after", figures.heatmaps,
        shown[mapped], dataset, samples, arrays, detectors[0].spec.stride)  # fmt: skip
    add("moved.png", "What guidance moved", draw_moved, moved)
    return drawn


def pose_samples(pairs: Pairs, outcomes: Outcomes, dataset: PoseDataset) -> dict:
    """Samples from the most worsened to the most improved, for the interactive view."""
    skeleton = dataset.skeleton
    document = {"joints": list(skeleton.joints), "edges": [list(e) for e in skeleton.edges]}
    if not pairs:
        return document | {"samples": []}
    detector, runs = next(iter(pairs.items()))
    by_title = {METHOD_TITLES[run.method]: outcomes[run.id] for run in runs}
    before, after = by_title.values()
    lifter = before.lifters[0]
    gain_mm_N = before.error_mm(lifter) - after.error_mm(lifter)
    places = np.linspace(0.03, 0.97, _SHOWN_POSES) * (len(gain_mm_N) - 1)
    chosen = np.argsort(gain_mm_N)[places.round().astype(int)].tolist()
    title = f"{DETECTOR_TITLES[detector]}, lifted by {lifter}"
    samples = [_pose_sample(dataset, i, by_title, lifter, title) for i in chosen]
    return document | {"samples": samples}


def _pose_sample(
    dataset: PoseDataset, i: int, found: Mapping[str, Outcome], lifter: str, title: str
) -> dict:
    labels, image = dataset.labels, dataset.image(i)
    to_stored = geometry.invert_affine(labels["stored_to_image"][i])
    kpts = {"truth": labels["joints_px"][i]} | {n: o.kpts_px_NK2[i] for n, o in found.items()}
    poses = {"truth": labels["pose_m"][i]} | {n: o.pose_m(lifter)[i] for n, o in found.items()}
    jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    return {
        "title": f"{labels['subject'][i]} {labels['action'][i]}, {title}",
        "image": "data:image/jpeg;base64," + base64.b64encode(jpeg).decode(),
        "kpts": {
            name: np.round(geometry.apply_affine(to_stored, kpts_px_K2.astype(float)), 1).tolist()
            for name, kpts_px_K2 in kpts.items()
        },
        "poses": {name: np.round(pose.astype(float), 3).tolist() for name, pose in poses.items()},
        "mpjpe": {name: round(float(o.error_mm(lifter)[i]), 1) for name, o in found.items()},
        "up": viewer.up_in_camera(labels["camera_R"][i]),
    }
