"""Poses to look at and turn in a browser: script and style that go inline into a page.

The viewer is plain JavaScript on 2D canvases and loads nothing. The top of viewer.js describes its
document; here a document is a dict of that form, in which arrays may be NumPy's and NaN means a
missing number.
"""

import html
import json
from importlib import resources

import numpy as np

_PARTS = ("space.js", "frames.js", "paint.js", "panel.js", "input.js", "mount.js", "viewer.js")
_DIGITS = 4  # a tenth of a millimetre

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
body {{ max-width: 1240px; margin: 0 auto; padding: 20px 16px 40px; font-family: system-ui, sans-serif; }}
h1 {{ margin: 0 0 14px; font-size: 20px; }}
{style}
</style>
</head>
<body>
<h1>{title}</h1>
<main id="poses"><noscript>The poses are drawn by a script, which is switched off.</noscript></main>
<script type="application/json" id="document">{document}</script>
<script>{script}</script>
<script>
const viewer = liftjaxViewer.mount(
  document.getElementById("poses"),
  JSON.parse(document.getElementById("document").textContent),
);
</script>
</body>
</html>
"""  # noqa: E501


def script() -> str:
    """JavaScript that defines `liftjaxViewer`, to go between script tags."""
    return '(() => {\n"use strict";\n' + "\n".join(map(_read, _PARTS)) + "})();\n"


def style() -> str:
    """The viewer's style sheet, to go between style tags; every rule starts with .ljv."""
    return _read("viewer.css")


def inline_json(document) -> str:
    """JSON to go between script tags of type application/json, safe for any text in it."""
    text = json.dumps(_plain(document), separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":  # so that no text ends the script element
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def page(document: dict, title: str) -> str:
    """An HTML page with the viewer in it, which opens from disk."""
    return _PAGE.format(
        title=html.escape(title), style=style(), document=inline_json(document), script=script()
    )


def up_in_camera(camera_R: np.ndarray) -> list[float] | None:
    """The `up` of a frame: the world's z axis in camera axes, given (3, 3) world to camera.

    None if it does not point up in the picture; then the world has no floor at z = 0, for example
    because it is the axes of the first camera.
    """
    up = np.asarray(camera_R, float)[:, 2]
    return up.round(_DIGITS).tolist() if up[1] < -0.5 else None


def _read(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _plain(value):
    """The value as dicts, lists, texts and rounded numbers, with None for NaN."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, _DIGITS) if np.isfinite(value) else None
    return value
