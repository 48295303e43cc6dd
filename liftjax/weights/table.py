"""The command `weights`: the list of published weights, and fetching some of them."""

from collections.abc import Sequence

from liftjax.tables import text_table
from liftjax.weights.fetching import VARIABLE, folder
from liftjax.weights.published import PUBLISHED, PublishedWeights, find_weights, in_words
from liftjax.weights.using import file, run_directory, run_path

_COLUMNS = ("name", "kind", "joints", "input", "frames", "MB", "licence", "paper", "here")
_NOTE = """\
`python -m liftjax weights NAME` fetches weights. train, evaluate, predict, export and
liftjax.Predictor take such names in place of run directories. The weights belong to their
publishers, whose licence is shown. They are kept in
  {folder}
({variable}=DIRECTORY chooses another folder, which several machines may share). A file that you
put there under its publisher's name is taken. These must be downloaded with a browser:

{by_hand}"""


def print_weights() -> str:
    """Prints the table of all published weights; returns it."""
    rows = [_row(weights) for weights in PUBLISHED.values()]
    by_hand = (f"  {w.name}: {w.file} from {w.page}" for w in PUBLISHED.values() if w.page)
    note = _NOTE.format(folder=folder(), variable=VARIABLE, by_hand="\n".join(by_hand))
    text = f"{text_table(_COLUMNS, rows, left=(0, 1, 2, 3, 6, 7, 8))}\n\n{note}"
    print(text)
    return text


def fetch_all(
    names: Sequence[str],
    *,
    skeleton: str | None = None,
    image_size: Sequence[int] | None = None,
    offline: bool = False,
) -> None:
    """Fetches the weights of these names, imports those of networks, and prints where they are.

    Args:
      names: keys of PUBLISHED.
      skeleton: joint set to which detectors are converted; backbones are imported only with it.
      image_size: (height, width) of the crops of detectors that are made of backbones.
      offline: fetch nothing.
    """
    chosen = [find_weights(name) for name in names]  # a wrong name is told before any download
    for weights in chosen:
        if skeleton or weights.kind in ("detector", "lifter"):
            form = {"skeleton": skeleton, "image_size": image_size and tuple(image_size)}
            place = run_directory(weights.name, **form, offline=offline)
        else:
            place = file(weights.name, offline=offline)
        print(f"{weights.name}: {place}")


def _row(weights: PublishedWeights) -> list[str]:
    path = folder() / weights.file
    size = path.stat().st_size if path.exists() else weights.bytes
    joints = [name for name in (weights.skeleton_2d, weights.skeleton) if name]
    here = "imported" if run_path(weights).exists() else "file" if path.exists() else ""
    return [
        weights.name,
        in_words(weights.kind),
        " -> ".join(joints),
        "{} x {}".format(*weights.image_size) if weights.image_size else "",
        str(weights.frames or ""),
        f"{size / 1e6:.1f}" if size else "",
        weights.terms,
        weights.paper,
        here,
    ]
