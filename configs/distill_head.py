"""DWPose's second stage: a fresh head is taught by the old one, on a frozen backbone.

Command:   python -m liftjax train --config distill_head --workdir runs/student_head \\
               --config.detector.checkpoint=runs/student
Hardware:  as distill_student, with less memory: the backbone has no backward pass.
Time:      a fifth of the first stage's steps, each much shorter.
Expected:  the first stage's accuracy or a little above.
"""

from liftjax.configs.distill_student import get_config as first_stage


def get_config():
    config = first_stage()
    config.steps //= 5
    config.distill.stage = "head"
    config.distill.feature_weight = 0.0
    config.distill.logit_weight = 1.0
    config.distill.decay = False
    # The released configs' cosine would begin at epoch 135, and this stage ends after 60.
    config.optim.schedule = "constant"
    config.optim.warmup_steps //= 4
    return config
