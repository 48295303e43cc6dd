"""Tables that the paper does not have."""

from collections.abc import Sequence

from liftjax.experiments.paper.measures import mpjpe, p_mpjpe, pck, pdj
from liftjax.experiments.paper.runs import Run
from liftjax.experiments.paper.study import DETECTOR_TITLES, LIFTER_TITLES, Study
from liftjax.experiments.paper.table import EXTRA_PCK, PCK, Cell, Column, Row, Table


def table_ablations(studies: Sequence[Study]) -> Table:
    """What the paper leaves out."""
    study = studies[0]
    joints = 15 if study.data == "panoptic" else 17
    variants = {
        "proposed": {},
        "no OHKLM (λ_O 0)": {"loss.weights.l_o": 0.0},
        "OHKLM of 5 joints": {"loss.top_k": 5},
        f"OHKLM of all {joints} joints": {"loss.top_k": joints},
        "uniform lifter weights": {"loss.dwa": False},
        "lifter dropout": {"loss.lifter_dropout": True},
        "depth alone (λ_xy 0)": {"loss.weights.l_xy": 0.0},
        "gradient-balanced (ratio 1)": {"loss.balance": 1.0},
        "weights as they stand": {"loss.balance": 0.0},
    }
    runs = [("RTMPose", label, study.multi("rtmpose", **v)) for label, v in variants.items()]
    shift = {"loss.quarter_pixel_shift": True}
    runs += [("HRNet", "proposed", study.multi("hrnet"))]
    runs += [("HRNet", "quarter-pixel shift", study.multi("hrnet", **shift))]
    proposed = {detector: study.multi(detector.lower()) for detector in ("RTMPose", "HRNet")}
    rows = [
        Row(
            (detector, label),
            (Cell(mpjpe(run)), Cell(p_mpjpe(run)), Cell(pck(run)), Cell(pdj(run))),
            detector,
            label == "proposed",
        )
        for detector, label, run in runs
        if label == "proposed" or run != proposed[detector]
    ]
    return Table(
        key="ablations",
        title="Parts of multi-model training",
        caption="mm and per cent, means over the four lifters that guide.",
        row_heads=("Detector", "Training"),
        columns=(
            Column("mpjpe", "MPJPE", extra=True),
            Column("p_mpjpe", "P-MPJPE", extra=True),
            Column("pck", "PCK@0.2", **PCK, extra=True),
            Column("pdj", "PDJ@0.2", **PCK, extra=True),
        ),
        rows=tuple(rows),
    )


def table_video(studies: Sequence[Study]) -> Table:
    """Lifters of several frames on detected clips."""
    study = studies[0]
    lifters = [name for name, _ in study.on_clips(None).lifters]

    def title(name: str) -> str:
        base, _, frames = name.partition(" ")
        return f"{LIFTER_TITLES[base]}, {frames or 1} frame{'s' if frames else ''}"

    def row(labels: tuple[str, str], run: Run, detector: str, baseline: bool) -> Row:
        cells = (*(Cell(mpjpe(run, name)) for name in lifters), Cell(pck(run)))
        return Row(labels, cells, detector, baseline)

    rows = []
    for detector in study.detectors:
        for method, run in (("FT-2D", study.ft2d(detector)), ("Ours", study.multi(detector))):
            labels = (DETECTOR_TITLES[detector], method)
            rows.append(row(labels, study.on_clips(run), detector, method == "FT-2D"))
    rows.append(row(("GT", ""), study.on_clips(None), "gt", False))
    columns = [Column(name, title(name), extra=True) for name in lifters]
    return Table(
        key="video",
        title="Lifters of several frames",
        caption="MPJPE in mm on clips at the rate of the camera, each frame lifted by itself or "
        "from the frames around it. Guidance (multi-model) is by lifters of one frame; those of "
        "several have never been part of a detector's training.",
        row_heads=("2D detector", "Method"),
        columns=(*columns, EXTRA_PCK),
        rows=tuple(rows),
    )


BEYOND = {"ablations": table_ablations, "video": table_video}
