"""Writes docs/api.md from the docstrings of liftjax's public names.

    pip install -e '.[docs]' && python docs/make_api.py

The package is read, not imported (by griffe), so that the page is the same on every machine. A test
compares it with the file.
"""

import re
import textwrap
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"
TOP = """\
# Python API

Every public name of liftjax, from its docstring; `docs/make_api.py` writes this page. Axes stand at
the end of names: `kpts_px_BK2` is (batch, joints, 2) in pixels, `pose_m_BTK3` (batch, frames,
joints, 3) in metres.

"""
# What each section shows: modules, with the names of each where not all that are public.
SECTIONS = {
    "liftjax": {
        "registry": ("create_detector", "create_lifter", "list_detectors", "list_lifters"),
        "inference.predictor": ("Predictor", "People"),
        "inference.pictures": ("read_picture",),
        "training.detector_step": ("make_train_step", "GuidanceOptions"),
        "training.update": ("TrainStep", "Update"),
        "runtime.replicas": ("Replicas",),
        "ops.soft_argmax": ("soft_argmax_2d", "soft_argmax_1d"),
        "errors": ("LiftjaxError",),
    },
    "liftjax.losses": {"losses": None},
    "liftjax.metrics": {"metrics": None},
    "liftjax.skeletons": {"skeletons": None},
    "liftjax.geometry": {"geometry": None},
    "liftjax.torch_weights": {"torch_weights": ("load", "dump", "shapes")},
    "liftjax.detectors.spec": {
        "detectors.spec": ("Detector", "DetectorSpec", "HeatmapOutput", "SimCCOutput", "Decoding")
    },
    "liftjax.detectors.hrnet": {"detectors.hrnet": ("HRNet",)},
    "liftjax.detectors.rtmpose": {"detectors.rtmpose": ("RTMPose",)},
    "liftjax.lifters.spec": {"lifters.spec": ("Lifter", "LifterSpec")},
    "liftjax.lifters.simple_baseline": {"lifters.simple_baseline": ("SimpleBaseline",)},
    "liftjax.lifters.videopose3d": {"lifters.videopose3d": ("VideoPose3D",)},
    "liftjax.lifters.iganet": {"lifters.iganet": ("IGANet",)},
    "liftjax.lifters.mixste": {"lifters.mixste": ("MixSTE",)},
    "liftjax.nn.declaration": {"nn.declaration": ("Preset", "WeightFiles", "Source", "Found")},
    "liftjax.data.schema": {"data.schema": ("Record",)},
    "liftjax.data.records": {"data.records": ("PoseDataset",)},
    "liftjax.runtime.checkpoints": {"runtime.checkpoints": ("load_model", "find_checkpoint")},
    "liftjax.weights": {
        "weights.published": ("PublishedWeights", "find_weights"),
        "weights.using": ("run_directory", "file", "resolve"),
    },
    "liftjax.prediction": {"prediction": ("predict_2d", "predict_scored", "lift", "lift_dataset")},
    "liftjax.evaluation": {"evaluation": ("evaluate", "report")},
}


def page() -> str:
    package = griffe.load("liftjax", search_paths=[ROOT])
    parts, contents = [], []
    for title, modules in SECTIONS.items():
        contents.append(f"[{title}](#{slug(title)})")
        parts.append(f"## {title}\n")
        if len(modules) == 1:
            module = package[next(iter(modules))]
            parts.append(described(module, module))
        for module_name, names in modules.items():
            module = package[module_name]
            for name in names or public_names(module):
                member = module[name]
                parts.append(entry(member.final_target if member.is_alias else member))
    return TOP + " · ".join(contents) + "\n\n" + "\n".join(parts)


def public_names(module) -> list[str]:
    """Functions and classes that a module exports, or defines under a public name."""
    if module.exports:
        return [name for name in module.exports if not module[name].is_attribute]
    return [
        name
        for name, member in module.members.items()
        if not (name.startswith("_") or member.is_alias) and (member.is_function or member.is_class)
    ]


def entry(thing, parent: str = "") -> str:
    """A function, class or method: its signature and its docstring."""
    title = f"{'####' if parent else '###'} `{parent}{thing.name}`\n\n"
    text = title + f"```py\n{signature(thing)}\n```\n\n" + described(thing, thing)
    if thing.is_class:
        found = properties(thing)
        text += "".join(f"- `{p.name}`: {one_line(p.docstring.value)}\n" for p in found)
        text += "".join("\n" + entry(method, f"{thing.name}.") for method in methods(thing))
    return text


def methods(cls) -> list:
    """Public ones that say something."""
    members = cls.members.items()
    public = (m for name, m in members if name[0] != "_" or name == "__call__")
    return [m for m in public if m.is_function and m.docstring]


def properties(cls) -> list:
    members = cls.members.items()
    return [m for name, m in members if name[0] != "_" and "property" in m.labels and m.docstring]


def signature(thing) -> str:
    """As Python has it, a parameter a line where it is long."""
    if thing.is_class and (init := thing.members.get("__init__")) is not None:
        whole = re.sub(r"^__init__\((self(, )?)?", f"{thing.name}(", init.signature())
        whole = whole.removesuffix(" -> None")
    elif thing.is_class:
        return f"class {thing.name}"
    else:
        whole = re.sub(r"\((self|cls)(, )?", "(", thing.signature(), count=1)
    whole = whole.replace("'", '"')
    if len(whole) <= 88:
        return whole
    head, inside, tail = re.fullmatch(r"(\w+)\((.*)\)((?: -> .*)?)", whole).groups()
    lines = "".join(f"    {part},\n" for part in split_outside_brackets(inside))
    return f"{head}(\n{lines}){tail}"


def split_outside_brackets(text: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def described(thing, scope) -> str:
    """The docstring as Markdown."""
    text = ""
    for heading, body in sections(thing.docstring.value if thing.docstring else ""):
        if not heading:
            text += prose(body) + "\n\n"
        elif heading in ("Args", "Attributes"):
            text += "".join(f"- `{name}`: {what}\n" for name, what in items(body, named(scope)))
            text += "\n"
        else:
            what = re.sub(r"\b(\w+Error):", r"`\1`:", one_line(body))
            text += f"**{heading}** {what}\n\n"
    return text.rstrip() + "\n"


def sections(docstring: str) -> list[tuple[str, str]]:
    """(heading, text) of a docstring, in order; text without a heading has "" for one."""
    headings = r"^(Args|Attributes|Raises|Returns):\n((?:  .*\n|\n)+)"
    pieces = re.split(headings, docstring + "\n", flags=re.MULTILINE)
    free = [("", text) for text in pieces[::3]]
    headed = list(zip(pieces[1::3], map(textwrap.dedent, pieces[2::3]), strict=True))
    found = [free[0], *(one for pair in zip(headed, free[1:], strict=True) for one in pair)]
    return [(heading, text) for heading, text in found if text.strip()]


def named(scope) -> set[str]:
    """The names that a list in the docstring of `scope` may explain."""
    names = {p.name for p in getattr(scope, "parameters", None) or ()}
    return {starred + name for name in names | set(scope.members) for starred in ("", "*", "**")}


def items(body: str, known: set[str]) -> list[tuple[str, str]]:
    """(name, text) of each item of a list; a line may explain several."""
    names = r"(?:\*{0,2}\w+, )*\*{0,2}\w+"
    pieces = re.split(rf"(?:^|(?<=[.;:,)])\s|\n)({names}): ", body)[1:]
    found = []
    for name, what in zip(pieces[::2], pieces[1::2], strict=True):
        if found and not set(name.split(", ")) <= known:
            found[-1] = (found[-1][0], f"{found[-1][1]} {name}: {one_line(what)}")
        else:
            found.append((name, one_line(what)))
    return found


def prose(text: str) -> str:
    """Sphinx's roles and double backticks as Markdown's backticks; formulas keep their indent."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", textwrap.dedent(text).strip())
    return text.replace("``", "`")


def one_line(text: str) -> str:
    return " ".join(prose(text).split())


def slug(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(page())
