"""Text as LaTeX."""

import re
import unicodedata

_MATHS = {
    "\N{RIGHTWARDS ARROW}": r"\rightarrow",
    "\N{LEFTWARDS ARROW}": r"\leftarrow",
    "\N{UPWARDS ARROW}": r"\uparrow",
    "\N{DOWNWARDS ARROW}": r"\downarrow",
    "\N{PLUS-MINUS SIGN}": r"\pm",
    "\N{MULTIPLICATION SIGN}": r"\times",
    "\N{MINUS SIGN}": "-",
    "\N{LESS-THAN OR EQUAL TO}": r"\leq",
    "\N{GREATER-THAN OR EQUAL TO}": r"\geq",
    "\N{ALMOST EQUAL TO}": r"\approx",
    "\N{DAGGER}": r"^\dagger",
    "\N{DEGREE SIGN}": r"^\circ",
    "\N{MIDDLE DOT}": r"\cdot",
    "\N{INFINITY}": r"\infty",
    "\N{MICRO SIGN}": r"\mu",
}
_CHARACTERS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "\N{LEFT SINGLE QUOTATION MARK}": "`",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``",
    "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    "\N{NO-BREAK SPACE}": "~",
}
_CHARACTERS |= {c: "\\" + c for c in "&%$#_{}"}
_CHARACTERS |= {c: rf"\ensuremath{{{maths}}}" for c, maths in _MATHS.items()}
_CAPITALS = {
    "gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "upsilon", "phi", "psi", "omega",
}  # fmt: skip


def latex_text(text: str) -> str:
    """Text as LaTeX that sets it, with any engine; a letter with an index, as λ_2D, as one."""
    indexed = re.split(r"([\u0370-\u03ff])_(\w+)", text)
    parts = []
    for i in range(0, len(indexed), 3):
        parts.append("".join(_latex_character(c) for c in indexed[i]))
        if i + 2 < len(indexed):
            letter, index = _greek(indexed[i + 1]), latex_text(indexed[i + 2])
            parts.append(rf"\ensuremath{{{letter}_{{\mathrm{{{index}}}}}}}")
    return "".join(parts)


def _latex_character(character: str) -> str:
    if character in _CHARACTERS:
        return _CHARACTERS[character]
    if "\u0370" <= character <= "\u03ff":
        return rf"\ensuremath{{{_greek(character)}}}"
    if ord(character) < 0x250:  # ASCII and the accented letters that LaTeX knows
        return character
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain or "?"


def _greek(letter: str) -> str:
    """The command of a letter; capitals that look like Latin ones are those."""
    words = unicodedata.name(letter, "").split()  # "GREEK SMALL LETTER BETA"
    name = words[3].lower().replace("lamda", "lambda") if len(words) > 3 else "?"
    if words[1:2] == ["CAPITAL"]:
        return "\\" + name.capitalize() if name in _CAPITALS else name[0].upper()
    return "o" if name == "omicron" else "\\" + name
