"""FT-2D, the baseline: a detector trained on 2D labels alone.

Command:   python -m liftjax train --config ft2d --workdir runs/ft2d
Hardware:  one accelerator at HRNet-W32, 384x288; the demo trains a small HRNet on two CPU cores.
Time:      see the demo; 40 epochs as in the paper are `steps = 40 * samples / 64`.
Schedule:  Adam at 1e-3, times 0.67 after every eighth of the run: 5 of the paper's 40 epochs. The
           released trainer's, which has 41 and multiplies the rate by 5 after the 31st: add
           --config.optim.decay_every=0.121951 --config.optim.boost_at=0.756098
Expected:  the starting point of single_model and multi_model; trained on from there for as many
           steps as they are (--config.detector.checkpoint), their yardstick.
"""

from liftjax.configs.common import base


def get_config():
    config = base()
    config.batch_size = 64
    config.loss.guidance = "none"
    return config
