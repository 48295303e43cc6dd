"""The paper's tables: which measure of which run stands in which cell.

A definition is for one seed; it names runs and computes nothing, so that the plan of a table and
the table itself come from the same lines.
"""

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
    actions = [Column(action, ACTION_HEADS.get(action, action)) for action in study.actions]
    columns = (*actions, Column(AVERAGE, AVERAGE), Column("p_mpjpe", "P-MPJPE", extra=True))

    def row(head: str, name: str, run: Run, lifter: str, group: str) -> Row:
        cells = [
            Cell(mpjpe(run, lifter, action), published("1", *name.split(), lifter, action))
            for action in study.actions
        ]
        average = Cell(mpjpe(run, lifter), published("1", *name.split(), lifter, AVERAGE))
        cells += [average, Cell(p_mpjpe(run, lifter))]
        labels = (head, LIFTER_TITLES[lifter])
        return Row(labels, tuple(cells), group, baseline=name.endswith("ft2d"))

    rows = []
    for detector in study.detectors:
        for method, title in _METHODS.items():
            for lifter in study.lifters:
                ft2d = method == "ft2d"
                run = study.ft2d(detector) if ft2d else study.single(detector, lifter)
                head = f"{DETECTOR_TITLES[detector]} ({title})"
                name, group = f"{detector} {method}", f"{detector} {lifter}"
                rows.append(row(head, name, run, lifter, group))
    truth = study.truth()
    rows += [row("GT", "gt", truth, lifter, "") for lifter in study.lifters]
    return Table(
        key="1",
        title="Single-model training, by action",
        caption="MPJPE in mm. FT-2D: trained on 2D labels; Ours: guided by the lifter of the row; "
        "GT: ground-truth 2D. Avg. is the mean over test frames.",
        row_heads=("2D input", "LiftNet"),
        columns=columns,
        rows=tuple(rows),
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

    def cells(study: Study, detector: str, method: str) -> list[Cell]:
        run = study.ft2d(detector) if method == "ft2d" else study.multi(detector)
        data = study.data if study.data == "panoptic" else "human36m"
        of_paper = {key: published("2", detector, method, data, key) for key in ("pck", "mpjpe")}
        return [
            Cell(pck(run), of_paper["pck"]),
            Cell(mpjpe(run), of_paper["mpjpe"]),
            Cell(p_mpjpe(run)),
            Cell(pdj(run)),
        ]

    rows = [
        Row(
            (DETECTOR_TITLES[detector], title),
            tuple(cell for study in studies for cell in cells(study, detector, method)),
            detector,
            baseline=method == "ft2d",
        )
        for detector in studies[0].detectors
        for method, title in _METHODS.items()
    ]
    return Table(
        key="2",
        title="Multi-model training, in 2D and in 3D",
        caption="PCK@0.2 in per cent of the visible joints; MPJPE in mm, mean over the four "
        "lifters that guide.",
        row_heads=("2D detector", "Method"),
        columns=tuple(columns),
        rows=tuple(rows),
    )


def table_3(studies: Sequence[Study]) -> Table:
    """All samples, and those that FT-2D finds perfectly in 2D."""
    study = studies[0]
    ft2d, detector = study.ft2d("rtmpose"), "rtmpose"
    methods = {
        ("Multi-model", "ft2d"): (ft2d, None),
        ("Multi-model", "ours"): (study.multi(detector), None),
        ("Single-model, SB", "ft2d"): (ft2d, _SB),
        ("Single-model, SB", "ours"): (study.single(detector, _SB), _SB),
    }

    def row(training: str, method: str, run: Run, lifter: str | None) -> Row:
        cells = []
        for subset in ("all", "perfect"):
            for key, measure in (("pck", pck(run)), ("mpjpe", mpjpe(run, lifter))):
                value = published("3", subset, method, key) if lifter is None else None
                chosen = measure if subset == "all" else on_perfect_2d(measure, ft2d)
                cells.append(Cell(chosen, value))
        return Row((training, _METHODS[method]), tuple(cells), training, method == "ft2d")

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
        rows=tuple(row(*name, *what) for name, what in methods.items()),
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
    ft2d, lifters = study.ft2d(detector), study.lifters
    baseline = [Cell(mpjpe(ft2d, on), published(key, "ft2d", on)) for on in lifters]
    rows = [Row(("FT-2D", "-"), tuple(baseline), "all", baseline=True)]
    for lifter in lifters:
        run = study.single(detector, lifter)
        cells = [
            None if on == lifter else Cell(mpjpe(run, on), published(key, f"single:{lifter}", on))
            for on in lifters
        ]
        rows.append(Row(("Single-model (Ours)", LIFTER_TITLES[lifter]), tuple(cells), "all"))
    for lifter in lifters:
        run = study.multi(detector, without=lifter)
        cells = [
            Cell(mpjpe(run, on), published(key, f"without:{lifter}", on)) if on == lifter else None
            for on in lifters
        ]
        label = ("Multi-model (Ours)", f"w/o {LIFTER_TITLES[lifter]}")
        rows.append(Row(label, tuple(cells), "all"))
    return Table(
        key=key,
        title=f"Cross-model validation with {DETECTOR_TITLES[detector]}",
        caption="MPJPE in mm through a lifter that did not guide: single-model training uses one "
        "and is tested on the others, multi-model training leaves the tested one out.",
        row_heads=("Method", "Trained with"),
        columns=tuple(Column(name, LIFTER_TITLES[name]) for name in lifters),
        rows=tuple(rows),
    )


def table_6(studies: Sequence[Study]) -> Table:
    """The beta of soft-argmax."""
    study = studies[0]
    own = study.beta("hrnet")
    betas = sorted({*map(float, BETAS), own})
    cells, columns = [], []
    for beta in betas:
        run = study.single("hrnet", _SB, **{"loss.beta": beta})
        extra = beta not in BETAS
        columns.append(Column(f"{beta:g}", f"{beta:g}", digits=2, extra=extra))
        cells.append(Cell(mpjpe(run, _SB), None if extra else published("6", f"{beta:g}")))
    return Table(
        key="6",
        title="The scaling factor beta of soft-argmax",
        caption="MPJPE in mm, HRNet guided by and tested on SB; trained and decoded with beta.",
        row_heads=("beta",),
        columns=tuple(columns),
        rows=(Row(("MPJPE",), tuple(cells), "all"),),
        notes=(f"All other tables have beta {own:g} for HRNet.",),
    )


# What tables 7 and 8 try in the place of the proposed weights. Where a scale has other weights,
# they are varied by the same factors.
_VARIED = {
    "7": {"l_2d": (0.3, 0.7), "l_o": (0.2, 0.4), "l_xy": (5.0, 15.0), "l_z": (10.0, 30.0)},
    "8": {"l_single": (0.6, 1.0), "l_local": (10.0, 20.0), "l_global": (3.0, 7.0)},
}
_SYMBOLS = {
    "l_2d": "λ_2D", "l_o": "λ_O", "l_xy": "λ_xy", "l_z": "λ_z",
    "l_single": "λ_single", "l_local": "λ_local", "l_global": "λ_global",
}  # fmt: skip


def table_7(studies: Sequence[Study]) -> Table:
    """The loss weights of single-model training."""
    study = studies[0]
    return _weights(
        "7", lambda **changes: study.single("rtmpose", _SB, **changes), _SB, "RTMPose and SB"
    )


def table_8(studies: Sequence[Study]) -> Table:
    """The loss weights of multi-model training."""
    study = studies[0]
    caption = "RTMPose, mean over four lifters"
    return _weights("8", lambda **changes: study.multi("rtmpose", **changes), None, caption)


def _weights(key: str, train: Callable[..., Run], lifter: str | None, caption: str) -> Table:
    def row(labels: tuple[str, str], run: Run, value: float | None) -> Row:
        cells = (Cell(mpjpe(run, lifter), value), Cell(pck(run)))
        return Row(labels, cells, "all", labels[0] == "Proposed")

    first = train()
    rows = [row(("Proposed", ""), first, published(key, "proposed"))]
    for weight, values in _VARIED[key].items():
        paper = proposed_weights(key)[weight]
        own = first.recipe["loss"]["weights"][weight]
        for value in values:
            changed = float(f"{(paper if own is None else own) * value / paper:.4g}")
            run = train(**{f"loss.weights.{weight}": changed})
            labels = (f"Vary {_SYMBOLS[weight]}", f"{changed:g}")
            rows.append(row(labels, run, published(key, weight, f"{value:g}")))
    method = "single-model" if key == "7" else "multi-model"
    return Table(
        key=key,
        title=f"The loss weights of {method} training",
        caption=f"MPJPE in mm, {caption}; one weight varied at a time.",
        row_heads=("Experiment", "Value"),
        columns=(Column("mpjpe", "MPJPE"), EXTRA_PCK),
        rows=tuple(rows),
    )


def table_relu(studies: Sequence[Study]) -> Table:
    """Soft-argmax with ReLU in the place of softmax."""
    study = studies[0]
    runs = {
        "softmax": study.single("rtmpose", _SB),
        "relu": study.single("rtmpose", _SB, **{"loss.normalizer": "relu"}),
    }
    rows = [
        Row(
            ({"softmax": "softmax", "relu": "ReLU"}[name],),
            (Cell(mpjpe(run, _SB), published("relu", name)), Cell(pck(run))),
            "all",
            name == "softmax",
        )
        for name, run in runs.items()
    ]
    return Table(
        key="relu",
        title="Softmax or ReLU in soft-argmax",
        caption="MPJPE in mm, single-model RTMPose with SB; trained and decoded alike.",
        row_heads=("Normaliser",),
        columns=(Column("mpjpe", "MPJPE"), EXTRA_PCK),
        rows=tuple(rows),
    )


def table_voting(studies: Sequence[Study]) -> Table:
    """The best of three detectors for each sample, and the median of four lifters."""
    study = studies[0]
    detectors = tuple(study.ft2d(name) for name in study.detectors)
    ft2d, guided = study.ft2d("rtmpose"), study.single("rtmpose", _SB)
    names = ", ".join(DETECTOR_TITLES[name] for name in study.detectors)
    rows = [
        ("RTMPose, FT-2D", mpjpe(ft2d, _SB), None),
        (f"best in 2D of {names}, FT-2D", voted_mpjpe(detectors, _SB), "voting"),
        ("RTMPose, single-model (Ours)", mpjpe(guided, _SB), "ours"),
        ("RTMPose, FT-2D, median of lifters", median_of_lifters_mpjpe(ft2d), None),
        (
            "RTMPose, multi-model, median of lifters",
            median_of_lifters_mpjpe(study.multi("rtmpose")),
            None,
        ),
    ]
    return Table(
        key="voting",
        title="Voting among detectors, and an ensemble of lifters",
        caption="MPJPE in mm through SB. Voting looks at the truth: it takes, sample by sample, "
        "the detector that is nearest to the labels in 2D.",
        row_heads=("2D input",),
        columns=(Column("mpjpe", "MPJPE"),),
        rows=tuple(
            Row((label,), (Cell(measure, key and published("voting", key)),), "all", i == 0)
            for i, (label, measure, key) in enumerate(rows)
        ),
    )


def table_gt(studies: Sequence[Study]) -> Table:
    """Ground-truth 2D through the lifters: the floor of every other number."""
    study = studies[0]
    truth = study.truth()
    cells = [Cell(mpjpe(truth, n), published("1", "gt", n, AVERAGE)) for n in study.lifters]
    aligned = [Cell(p_mpjpe(truth, name)) for name in study.lifters]
    return Table(
        key="gt",
        title="Ground-truth 2D input",
        caption="mm through each lifter: what is left when the 2D pose is exact.",
        row_heads=("Measure",),
        columns=tuple(Column(name, LIFTER_TITLES[name]) for name in study.lifters),
        rows=(Row(("MPJPE",), tuple(cells)), Row(("P-MPJPE",), tuple(aligned))),
    )


PAPER_TABLES = {
    "1": table_1, "2": table_2, "3": table_3, "4": table_4, "5": table_5, "6": table_6,
    "7": table_7, "8": table_8, "relu": table_relu, "voting": table_voting, "gt": table_gt,
}  # fmt: skip
TABLES = PAPER_TABLES | BEYOND  # the latter are not part of `all`
