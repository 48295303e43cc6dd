"""The recipes as modules: `from liftjax.configs.ft2d import get_config`.

Their files are in the folder `configs`, which is beside liftjax in the source tree and inside it
when installed: a folder `configs` of a user's is never in the way.
"""

from pathlib import Path

_HERE = Path(__file__).resolve()
FOLDER = next(f for f in (_HERE.with_suffix(""), _HERE.parents[1] / "configs") if f.is_dir())
__path__ = [str(FOLDER)]
