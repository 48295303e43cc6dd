"""One thing damaged in a file that was whole: what a reader must survive."""

import copy
import json
import re

from hypothesis import strategies as st

# Values of every kind, and numbers at the ends of what a reader might hold.
STRANGE = [None, True, "", "0", "x", "é", [], {}, [[]], [None], {"x": 1}]
NUMBERS = [-1, 0, 3.5, 2**40, 10**400, 1e308, float("nan"), float("inf")]
_NUMBER = r"(?<![\w.-])-?\d+\.?\d*(e-?\d+)?(?!\w)"  # of a text; no part of a name
KINDS = ("drop", "rename", "retype", "renumber", "repeat", "swap", "cut")
# Kinds after which a file may be sound, with other labels; and with fewer.
OTHERS = ("renumber", "repeat", "swap")
FEWER = ("drop entry", "cut entry", "retype entry")


def _places(tree, here=()):
    """The path of every entry of every list and dictionary."""
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield (*here, key)
            yield from _places(tree[key], (*here, key))


def _follow(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def _fits(kind: str, container, key) -> bool:
    if kind == "rename":
        return isinstance(container, dict)
    if kind in ("repeat", "swap", "cut"):
        return isinstance(container, list)
    if kind == "renumber":
        return _is_number(container[key])
    return True


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@st.composite
def damaged_tree(draw, tree):
    """(kind, copy of `tree` with one thing damaged)."""
    tree = copy.deepcopy(tree)
    # A kind of place, then one of them: a thousand coordinates do not hide the one name.
    shapes = {}
    for path in _places(tree):
        shapes.setdefault(tuple(k if isinstance(k, str) else 0 for k in path), []).append(path)
    *outer, key = draw(st.sampled_from(draw(st.sampled_from(list(shapes.values())))))
    container = _follow(tree, outer)
    kind = draw(st.sampled_from([k for k in KINDS if _fits(k, container, key)]))
    if kind == "drop":
        del container[key]
    elif kind == "rename":
        container[key + "_"] = container.pop(key)
    elif kind == "retype":
        container[key] = draw(st.sampled_from(STRANGE))
    elif kind == "renumber":
        changed = [container[key] * factor + 1 for factor in (-1, 2, 1000)]
        container[key] = draw(st.sampled_from(changed + NUMBERS))
    elif kind == "repeat":
        container.insert(key, copy.deepcopy(container[key]))
    elif kind == "swap":
        other = draw(st.integers(0, len(container) - 1))
        container[key], container[other] = container[other], container[key]
    else:
        del container[key:]
    emptied = kind == "retype" and container[key] == []  # all entries dropped
    if emptied or (isinstance(container, list) and kind in ("drop", "cut")):
        kind += " entry"
    return kind, tree


@st.composite
def damaged_json(draw, data: bytes):
    """(kind, JSON text with one thing damaged), or with its end cut off."""
    if draw(st.integers(0, 9)) == 0:
        return "cut text", data[: draw(st.integers(0, len(data) - 1))]
    kind, tree = draw(damaged_tree(json.loads(data)))
    return kind, json.dumps(tree, ensure_ascii=False).encode()


@st.composite
def damaged_text(draw, data: bytes):
    """(kind, text with one number, word or line damaged), or with its end cut off."""
    text = data.decode()
    kind = draw(st.sampled_from(["retype", "renumber", "drop", "repeat", "rename", "cut"]))
    if kind == "cut":
        return "cut entry", data[: draw(st.integers(0, len(data) - 1))]
    patterns = {"retype": _NUMBER, "renumber": _NUMBER, "rename": r"\b[A-Za-z_]+\b"}
    found = list(re.finditer(patterns.get(kind, r"[^\n>]*[\n>]"), text))
    start, stop = draw(st.sampled_from(found)).span()
    new = {
        "retype": draw(st.sampled_from(["", "x", "nan", "inf", "[]"])),
        "renumber": draw(st.sampled_from(["-1", "0", "1" * 400, "1e308"])),
        "rename": text[start:stop] + "_",
        "drop": "",
        "repeat": 2 * text[start:stop],
    }[kind]
    return kind, (text[:start] + new + text[stop:]).encode()


@st.composite
def damaged_bytes(draw, data: bytes):
    """(kind, bytes with one changed, some lost or the end cut off)."""
    kind = draw(st.sampled_from(["change", "drop", "cut"]))
    at = draw(st.integers(0, len(data) - 1))
    if kind == "change":
        return kind, data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
    return kind, data[:at] + (data[at + draw(st.integers(1, 16)) :] if kind == "drop" else b"")
