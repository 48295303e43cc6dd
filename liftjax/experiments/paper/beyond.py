"""Tables that the paper does not have."""

from collections.abc import Sequence

from liftjax.experiments.paper.measures import mpjpe, p_mpjpe, pck, pdj
from liftjax.experiments.paper.scales import VIDEO_FRAMES
from liftjax.experiments.paper.study import DETECTOR_TITLES, LIFTER_TITLES, Study
from liftjax.experiments.paper.table import EXTRA_PCK, PCK, Cell, Column, Row, Table


def table_ablations(studies: Sequence[Study]) -> Table:
    """Changes to parts of multi-model training that the paper does not try."""
    study = studies[0]
    joints = 15 if study.data == "panoptic" else 17
    variants = {
        ("rtmpose", "proposed"): {},
        ("rtmpose", "no OHKLM (λ_O 0)"): {"loss.weights.l_o": 0.0},
        ("rtmpose", "OHKLM of 5 joints"): {"loss.top_k": 5},
        ("rtmpose", f"OHKLM of all {joints} joints"): {"loss.top_k": joints},
        ("rtmpose", "uniform lifter weights"): {"loss.dwa": False},
        ("rtmpose", "lifter dropout"): {"loss.lifter_dropout": True},
        ("rtmpose", "depth alone (λ_xy 0)"): {"loss.weights.l_xy": 0.0},
        ("rtmpose", "gradient-balanced (ratio 1)"): {"loss.balance": 1.0},
        ("rtmpose", "weights as they stand"): {"loss.balance": 0.0},
        ("hrnet", "proposed"): {},
        ("hrnet", "quarter-pixel shift"): {"loss.quarter_pixel_shift": True},
    }
    rows = []
    for (detector, label), changes in variants.items():
        run, proposed = study.multi(detector, **changes), label == "proposed"
        if proposed or run != study.multi(detector):  # a change that changes nothing is left out
            cells = [Cell(measure(run)) for measure in (mpjpe, p_mpjpe, pck, pdj)]
            title = DETECTOR_TITLES[detector]
            rows.append(Row((title, label), cells, title, proposed))
    return Table(
        key="ablations",
        title="Parts of multi-model training",
        caption="mm and per cent, means over the four lifters that guide.",
        row_heads=("Detector", "Training"),
        columns=(
            Column("mpjpe", "MPJPE", extra=True),
            Column("p_mpjpe", "P-MPJPE", extra=True),
            EXTRA_PCK,
            Column("pdj", "PDJ@0.2", **PCK, extra=True),
        ),
        rows=rows,
    )


_ON_CLIPS = "(clips)"
_CAPTION_ON_CLIPS = (
    f" The rows {_ON_CLIPS} go on from the same first detector on clips, guided by one lifter of "
    f"{VIDEO_FRAMES} frames, or by both, of 1 or of {VIDEO_FRAMES} frames."
)


def table_video(studies: Sequence[Study]) -> Table:
    """Lifters of several frames on detected clips."""
    study = studies[0]
    truth = study.on_clips(None)
    columns = []
    for name, _ in truth.lifters:
        base, _, frames = name.partition(" ")
        title = f"{LIFTER_TITLES[base]}, {frames or 1} frame{'s' if frames else ''}"
        columns.append(Column(name, title, extra=True))
    runs = {}
    for detector in study.detectors:
        runs[detector, "FT-2D"] = study.on_clips(study.ft2d(detector))
        runs[detector, "Ours"] = study.on_clips(study.multi(detector))
    for detector in study.detectors if study.trains_on_clips else ():
        runs[detector, f"FT-2D {_ON_CLIPS}"] = study.ft2d_on_clips(detector)
        for lifter in study.scale.video_lifters:
            method = f"{LIFTER_TITLES[lifter]}, {VIDEO_FRAMES} frames {_ON_CLIPS}"
            runs[detector, method] = study.single_on_clips(detector, lifter)
        for frames, unit in ((1, "frame"), (VIDEO_FRAMES, "frames")):
            method = f"both, {frames} {unit} {_ON_CLIPS}"
            runs[detector, method] = study.multi_on_clips(detector, frames)
    runs["gt", ""] = truth
    rows = [
        Row(
            (DETECTOR_TITLES.get(detector, "GT"), method),
            [*(Cell(mpjpe(run, column.key)) for column in columns), Cell(pck(run))],
            f"{detector} on clips" if method.endswith(_ON_CLIPS) else detector,
            method.startswith("FT-2D"),
        )
        for (detector, method), run in runs.items()
    ]
    return Table(
        key="video",
        title="Lifters of several frames",
        caption="MPJPE in mm on clips at the rate of the camera, each frame lifted by itself or "
        "from the frames around it. FT-2D and Ours (multi-model) are trained on single pictures, "
        "without lifters of several frames." + (_CAPTION_ON_CLIPS if study.trains_on_clips else ""),
        row_heads=("2D detector", "Method"),
        columns=[*columns, EXTRA_PCK],
        rows=rows,
    )


BEYOND = {"ablations": table_ablations, "video": table_video}
