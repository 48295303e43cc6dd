"""Single-model guidance: the detector is trained through one frozen lifter.

Command:   python -m liftjax train --config single_model --workdir runs/single \\
               --config.detector.checkpoint=runs/ft2d \\
               --config.lifters.simple_baseline=runs/lifters/simple_baseline
Hardware:  as ft2d; the lifter adds a few per cent to a step.
Time:      as ft2d, and so is the schedule.
Balance:   the weights are the released ones, for a converged detector. A young one is harmed by
           them (watch grad_ratio): add --config.loss.balance=1.
Expected:  a lower MPJPE than ft2d through that lifter; the paper's HRNet and SimpleBaseline:
           55.1 mm -> 52.9 mm on Human3.6M (supplement, Table 1).
"""

from liftjax.configs.common import base


def get_config():
    config = base()
    config.batch_size = 64
    config.loss.guidance = "single"
    return config
