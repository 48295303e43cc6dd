"""DWPose's first stage: a student learns from labels and from a larger, frozen teacher.

Command:   python -m liftjax train --config distill_student --workdir runs/student \\
               --config.distill.teacher=runs/teacher
           (the teacher: an RTMPose or DWPose run on the same joints and crop size, such as ft2d
           with --config.detector.name=rtmpose_l)
Hardware:  one accelerator; rtmpose_tiny and a small teacher train on two CPU cores.
Time:      the student's own, plus a forward pass of the teacher a step. The paper's 270 epochs are
           `steps = 270 * samples / 64`.
Expected:  a better student than ft2d gives in as many steps. Both stages together take the
           paper's RTMPose-l (384x288) from 64.8 to 66.5 whole-body AP; its teacher has 65.3.
           At the scale of a laptop it does not help: on synthetic people a student of 0.4 million
           parameters reaches 95.6 % PCK@0.2 in 1200 steps alone, 94.9 with a teacher that has 94.9
           to 95.5, and 94.8 after the second stage.
"""

from liftjax.configs.common import base


def get_config():
    config = base()
    config.task = "distill"
    config.detector.name = "rtmpose_m"
    config.steps = 20_000
    config.batch_size = 64
    config.distill.stage = "student"
    # The published weights stand beside a label loss that is summed over a batch of 64.
    config.loss.weights.l_2d = 64.0
    config.optim.name = "adamw"
    config.optim.weight_decay = 0.05
    config.optim.decay_norms = False
    config.optim.clip_norm = 1.0
    config.optim.schedule = "flat_cosine"
    config.optim.warmup_steps = 1000
    return config
