"""What the command line prints about a data set that was built."""

from pathlib import Path

from data_prep.finishing import PROBLEMS_FILE, SHEET_FILE


def format_report(document: dict, out: Path) -> str:
    """What was built, what was left out and how well it agrees with itself, in a few lines.

    Args:
      document: the contents of liftjax.json.
      out: the directory of the data set.
    """
    lines = [f"Wrote {out}"]
    for split, summary in document["splits"].items():
        subjects = ", ".join(f"{k} {n}" for k, n in list(summary["counts"]["subject"].items())[:8])
        lines.append(f"  {split}: {summary['records']} records ({subjects})")
        lines += [f"    {line}" for line in _check_lines(summary["checks"])]
    for kind, count in document["problems"].items():
        left_out = f"{count['dropped']} records left out" if count["dropped"] else "a remark"
        lines.append(f"  {kind}: {count['problems']}, {left_out}")
    if document["problems"]:
        lines.append(f"  each is named in {out / PROBLEMS_FILE}")
    if (out / SHEET_FILE).exists():
        lines.append(f"  look at {out / SHEET_FILE}")
    return "\n".join(lines)


def _check_lines(checks: dict) -> list[str]:
    if not checks:
        return []
    errors = [e for e in checks["reprojection_px"].values() if e["median"] is not None]
    lines = []
    if errors:
        lines.append(
            f"3D projected against 2D: median {max(e['median'] for e in errors):.3g} px in the "
            f"worst camera, at most {max(e['max'] for e in errors):.3g} px"
        )
    subject, worst = max(checks["limbs"].items(), key=lambda limb: limb[1]["std_mm"])
    lines.append(
        f"limb lengths: least constant {worst['least_constant_bone']} of {subject}, "
        f"{worst['mean_mm']:.0f} mm with a deviation of {worst['std_mm']:.1f} mm"
    )
    return lines
