"""The recipes as modules: `from liftjax.configs.ft2d import get_config`.

Their files are in the folder `configs`, which is beside liftjax in the source tree and inside it
when installed: a folder `configs` of a user's is never in the way.
"""

from pathlib import Path

from liftjax.errors import LiftjaxError

_HERE = Path(__file__).resolve()
_PLACES = (_HERE.with_suffix(""), _HERE.parents[1] / "configs")
_FOUND = [place for place in _PLACES if (place / "common.py").is_file()]
if not _FOUND:
    raise LiftjaxError(f"liftjax's recipes are not in {_PLACES[0]}; install liftjax again.")
FOLDER = _FOUND[0]
__path__ = [str(FOLDER)]  # of the modules
