"""The paper's tables: which measure of which run stands in which cell.

A definition is for one seed; it names runs and computes nothing, so that the plan of a table and
the table itself come from the same lines.
"""

import functools
import itertools
from collections.abc import Callable, Sequence

from liftjax.experiments.paper.beyond import BEYOND
from liftjax.experiments.paper.measures import (
    median_of_lifters_mpjpe,
    mpjpe,
    on_perfect_2d,
    p_mpjpe,
    pck,
    pdj,
    voted_mpjpe,
)
from liftjax.experiments.paper.published import (
    ACTION_HEADS,
    AVERAGE,
    BETAS,
    proposed_weights,
    published,
)
from liftjax.experiments.paper.runs import Run
from liftjax.experiments.paper.study import DETECTOR_TITLES, LIFTER_TITLES, Study
from liftjax.experiments.paper.table import EXTRA_PCK, PCK, Cell, Column, Row, Table

_SB = "simple_baseline"  # the lifter of tables 3, 6 and 7
_METHODS = {"ft2d": "FT-2D", "ours": "Ours"}


def table_1(studies: Sequence[Study]) -> Table:
    """Single-model training by action."""
    study = studies[0]
    columns = [Column(action, ACTION_HEADS.get(action, action)) for action in study.actions]
    columns += [Column(AVERAGE, AVERAGE), Column("p_mpjpe", "P-MPJPE", extra=True)]

    def row(head: str, key: tuple[str, ...], run: Run, lifter: str, group: str = "") -> Row:
        cells = [
            Cell(mpjpe(run, lifter, action), published("1", *key, lifter, action))
            for action in study.actions
        ]
        cells.append(Cell(mpjpe(run, lifter), published("1", *key, lifter, AVERAGE)))
        cells.append(Cell(p_mpjpe(run, lifter)))
        return Row((head, LIFTER_TITLES[lifter]), cells, group, baseline=key[-1] == "ft2d")

    rows = []
    for detector, method, lifter in itertools.product(study.detectors, _METHODS, study.lifters):
        ours = method == "ours"
        run = study.single(detector, lifter) if ours else study.ft2d(detector)
        head = f"{DETECTOR_TITLES[detector]} ({_METHODS[method]})"
        rows.append(row(head, (detector, method), run, lifter, f"{detector} {lifter}"))
    rows += [row("GT", ("gt",), study.truth(), lifter) for lifter in study.lifters]
    return Table(
        key="1",
        title="Single-model training, by action",
        caption="MPJPE in mm. FT-2D: trained on 2D labels; Ours: guided by the lifter of the row; "
        "GT: ground-truth 2D. Avg. is the mean over test frames.",
        row_heads=("2D input", "LiftNet"),
        columns=columns,
        rows=rows,
    )


def table_2(studies: Sequence[Study]) -> Table:
    """Multi-model training, in 2D and 3D, on every data set."""
    columns = []
    for study in studies:
        name, on = study.data, f"{study.data} " if len(studies) > 1 else ""
        columns += [
            Column(f"{name} pck", f"{on}PCK@0.2", **PCK),
            Column(f"{name} mpjpe", f"{on}MPJPE", digits=2),
            Column(f"{name} p_mpjpe", f"{on}P-MPJPE", extra=True),
            Column(f"{name} pdj", f"{on}PDJ@0.2", **PCK, extra=True),
        ]
    rows = []
    for detector, method in itertools.product(studies[0].detectors, _METHODS):
        cells = []
        for study in studies:
            run = study.multi(detector) if method == "ours" else study.ft2d(detector)
            key = ("2", detector, method, "panoptic" if study.data == "panoptic" else "human36m")
            cells += [Cell(pck(run), published(*key, "pck"))]
            cells += [Cell(mpjpe(run), published(*key, "mpjpe"))]
            cells += [Cell(p_mpjpe(run)), Cell(pdj(run))]
        labels = (DETECTOR_TITLES[detector], _METHODS[method])
        rows.append(Row(labels, cells, detector, baseline=method == "ft2d"))
    return Table(
        key="2",
        title="Multi-model training, in 2D and in 3D",
        caption="PCK@0.2 in per cent of the visible joints; MPJPE in mm, mean over the four "
        "lifters that guide.",
        row_heads=("2D detector", "Method"),
        columns=columns,
        rows=rows,
    )


def table_3(studies: Sequence[Study]) -> Table:
    """All samples, and those that FT-2D finds perfectly in 2D."""
    study = studies[0]
    ft2d = study.ft2d("rtmpose")
    trainings = {
        "Multi-model": ({"ft2d": ft2d, "ours": study.multi("rtmpose")}, None),
        "Single-model, SB": ({"ft2d": ft2d, "ours": study.single("rtmpose", _SB)}, _SB),
    }
    rows = []
    for training, (runs, lifter) in trainings.items():
        for method, run in runs.items():
            measures, cells = {"pck": pck(run), "mpjpe": mpjpe(run, lifter)}, []
            for subset, (key, measure) in itertools.product(("all", "perfect"), measures.items()):
                of_paper = None if lifter else published("3", subset, method, key)
                of_subset = measure if subset == "all" else on_perfect_2d(measure, ft2d)
                cells.append(Cell(of_subset, of_paper))
            rows.append(Row((training, _METHODS[method]), cells, training, method == "ft2d"))
    return Table(
        key="3",
        title="All samples, and samples with perfect 2D",
        caption="RTMPose. Perfect: the test samples whose FT-2D keypoints all lie within 20 % of "
        "the box.",
        row_heads=("Training", "Method"),
        columns=(
            Column("all pck", "All: 2D Acc.", **PCK),
            Column("all mpjpe", "All: 3D error", digits=2),
            Column("perfect pck", "Perfect 2D: 2D Acc.", **PCK),
            Column("perfect mpjpe", "Perfect 2D: 3D error", digits=2),
        ),
        rows=rows,
        notes=(
            "Both the single-model training of the printed caption and the multi-model training of "
            "its numbers are measured.",
        ),
    )


def table_4(studies: Sequence[Study]) -> Table:
    """Cross-model validation with HRNet."""
    return _cross_validation("4", "hrnet", studies[0])


def table_5(studies: Sequence[Study]) -> Table:
    """Cross-model validation with DWPose."""
    return _cross_validation("5", "dwpose", studies[0])


def _cross_validation(key: str, detector: str, study: Study) -> Table:
    lifters = study.lifters

    def row(labels: tuple[str, str], run: Run, name: str, tested: Sequence[str]) -> Row:
        cells = [
            Cell(mpjpe(run, on), published(key, name, on)) if on in tested else None
            for on in lifters
        ]
        return Row(labels, cells, "all", baseline=name == "ft2d")

    rows = [row(("FT-2D", "-"), study.ft2d(detector), "ft2d", lifters)]
    for lifter in lifters:
        labels, others = ("Single-model (Ours)", LIFTER_TITLES[lifter]), {*lifters} - {lifter}
        rows.append(row(labels, study.single(detector, lifter), f"single:{lifter}", others))
    for lifter in lifters:
        labels = ("Multi-model (Ours)", f"w/o {LIFTER_TITLES[lifter]}")
        run = study.multi(detector, without=lifter)
        rows.append(row(labels, run, f"without:{lifter}", {lifter}))
    return Table(
        key=key,
        title=f"Cross-model validation with {DETECTOR_TITLES[detector]}",
        caption="MPJPE in mm through a lifter that did not guide: single-model training uses one "
        "and is tested on the others, multi-model training leaves the tested one out.",
        row_heads=("Method", "Trained with"),
        columns=[Column(name, LIFTER_TITLES[name]) for name in lifters],
        rows=rows,
    )


def table_6(studies: Sequence[Study]) -> Table:
    """The beta of soft-argmax."""
    study = studies[0]
    own = study.beta("hrnet")
    cells, columns = [], []
    for beta in sorted({*map(float, BETAS), own}):
        run, name = study.single("hrnet", _SB, **{"loss.beta": beta}), f"{beta:g}"
        columns.append(Column(name, name, digits=2, extra=beta not in BETAS))
        cells.append(Cell(mpjpe(run, _SB), published("6", name)))
    return Table(
        key="6",
        title="The scaling factor beta of soft-argmax",
        caption="MPJPE in mm, HRNet guided by and tested on SB; trained and decoded with beta.",
        row_heads=("beta",),
        columns=columns,
        rows=[Row(("MPJPE",), cells, "all")],
        notes=(f"All other tables have beta {own:g} for HRNet.",),
    )


# What tables 7 and 8 try in place of the proposed weights. A scale with other weights varies them
# by the same factors.
_VARIED = {
    "7": {"l_2d": (0.3, 0.7), "l_o": (0.2, 0.4), "l_xy": (5.0, 15.0), "l_z": (10.0, 30.0)},
    "8": {"l_single": (0.6, 1.0), "l_local": (10.0, 20.0), "l_global": (3.0, 7.0)},
}
_SYMBOLS = {"l_2d": "λ_2D", "l_o": "λ_O"}  # any other weight l_NAME is λ_NAME


def table_7(studies: Sequence[Study]) -> Table:
    """The loss weights of single-model training."""
    train = functools.partial(studies[0].single, "rtmpose", _SB)
    return _weights("7", train, _SB, "single-model", "RTMPose and SB")


def table_8(studies: Sequence[Study]) -> Table:
    """The loss weights of multi-model training."""
    train = functools.partial(studies[0].multi, "rtmpose")
    return _weights("8", train, None, "multi-model", "RTMPose, mean over four lifters")


def _weights(
    key: str, train: Callable[..., Run], lifter: str | None, method: str, caption: str
) -> Table:
    def row(labels: tuple[str, str], run: Run, *printed: str) -> Row:
        cells = (Cell(mpjpe(run, lifter), published(key, *printed)), Cell(pck(run)))
        return Row(labels, cells, "all", labels[0] == "Proposed")

    rows = [row(("Proposed", ""), train(), "proposed")]
    for weight, values in _VARIED[key].items():
        symbol, paper = _SYMBOLS.get(weight, f"λ{weight[1:]}"), proposed_weights(key)[weight]
        own = train().recipe["loss"]["weights"][weight]
        for value in values:
            changed = float(f"{(paper if own is None else own) * value / paper:.4g}")
            run = train(**{f"loss.weights.{weight}": changed})
            labels = (f"Vary {symbol}", f"{changed:g}")
            rows.append(row(labels, run, weight, f"{value:g}"))
    return Table(
        key=key,
        title=f"The loss weights of {method} training",
        caption=f"MPJPE in mm, {caption}; one weight varied at a time.",
        row_heads=("Experiment", "Value"),
        columns=(Column("mpjpe", "MPJPE"), EXTRA_PCK),
        rows=rows,
    )


def table_relu(studies: Sequence[Study]) -> Table:
    """Soft-argmax with ReLU in the place of softmax."""
    rows = []
    for name, title, changes in (
        ("softmax", "softmax", {}),
        ("relu", "ReLU", {"loss.normalizer": "relu"}),
    ):
        run = studies[0].single("rtmpose", _SB, **changes)
        cells = (Cell(mpjpe(run, _SB), published("relu", name)), Cell(pck(run)))
        rows.append(Row((title,), cells, "all", name == "softmax"))
    return Table(
        key="relu",
        title="Softmax or ReLU in soft-argmax",
        caption="MPJPE in mm, single-model RTMPose with SB; trained and decoded alike.",
        row_heads=("Normaliser",),
        columns=(Column("mpjpe", "MPJPE"), EXTRA_PCK),
        rows=rows,
    )


def table_voting(studies: Sequence[Study]) -> Table:
    """The best of three detectors for each sample, and the median of four lifters."""
    study = studies[0]
    detectors = [study.ft2d(name) for name in study.detectors]
    names = ", ".join(DETECTOR_TITLES[name] for name in study.detectors)
    ft2d, single = study.ft2d("rtmpose"), study.single("rtmpose", _SB)
    cells = {
        "RTMPose, FT-2D": Cell(mpjpe(ft2d, _SB)),
        f"best in 2D of {names}, FT-2D": Cell(
            voted_mpjpe(detectors, _SB), published("voting", "voting")
        ),
        "RTMPose, single-model (Ours)": Cell(mpjpe(single, _SB), published("voting", "ours")),
        "RTMPose, FT-2D, median of lifters": Cell(median_of_lifters_mpjpe(ft2d)),
        "RTMPose, multi-model, median of lifters": Cell(
            median_of_lifters_mpjpe(study.multi("rtmpose"))
        ),
    }
    return Table(
        key="voting",
        title="Voting among detectors, and an ensemble of lifters",
        caption="MPJPE in mm through SB. Voting looks at the truth: it takes, sample by sample, "
        "the detector that is nearest to the labels in 2D.",
        row_heads=("2D input",),
        columns=(Column("mpjpe", "MPJPE"),),
        rows=[
            Row((label,), (cell,), "all", i == 0) for i, (label, cell) in enumerate(cells.items())
        ],
    )


def table_gt(studies: Sequence[Study]) -> Table:
    """Ground-truth 2D through the lifters: the floor of every other number."""
    truth, lifters = studies[0].truth(), studies[0].lifters
    cells = [Cell(mpjpe(truth, name), published("1", "gt", name, AVERAGE)) for name in lifters]
    aligned = [Cell(p_mpjpe(truth, name)) for name in lifters]
    return Table(
        key="gt",
        title="Ground-truth 2D input",
        caption="mm through each lifter: what is left when the 2D pose is exact.",
        row_heads=("Measure",),
        columns=[Column(name, LIFTER_TITLES[name]) for name in lifters],
        rows=[Row(("MPJPE",), cells), Row(("P-MPJPE",), aligned)],
    )


PAPER_TABLES = {
    "1": table_1, "2": table_2, "3": table_3, "4": table_4, "5": table_5, "6": table_6,
    "7": table_7, "8": table_8, "relu": table_relu, "voting": table_voting, "gt": table_gt,
}  # fmt: skip
TABLES = PAPER_TABLES | BEYOND  # the latter are not part of `all`
