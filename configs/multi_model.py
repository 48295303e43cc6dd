"""Multi-model guidance: the detector is trained through several frozen lifters at once.

Command:   python -m liftjax train --config multi_model --workdir runs/multi \\
               --config.detector.checkpoint=runs/ft2d \\
               --config.lifters.simple_baseline=runs/lifters/simple_baseline \\
               --config.lifters.videopose3d=runs/lifters/videopose3d \\
               --config.lifters.iganet=runs/lifters/iganet \\
               --config.lifters.mixste=runs/lifters/mixste
Hardware:  as ft2d; four lifters add a few per cent to a step.
Time:      as ft2d, and so is the schedule.
Balance:   the weights are the released ones, for a converged detector. A young one is harmed by
           them (watch grad_ratio): add --config.loss.balance=1.
Expected:  a lower mean MPJPE than ft2d at about equal PCK; the paper's HRNet over four lifters:
           56.13 mm -> 54.50 mm on Human3.6M (supplement, Table 2).
"""

from liftjax.configs.common import base


def get_config():
    config = base()
    config.batch_size = 64
    config.loss.guidance = "multi"
    return config
