"""The command line with toys in the place of training.

python -m tests.experiments.paper.toy_program tables ...
"""

import sys

from liftjax.cli import main

if __name__ == "__main__":
    from tests.experiments.paper import toy_runs

    toy_runs.install()
    toy_runs.install_data_and_pictures()
    sys.exit(main())
