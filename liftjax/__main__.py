"""python -m liftjax COMMAND"""

import sys

from liftjax.cli import main

if __name__ == "__main__":
    sys.exit(main())
