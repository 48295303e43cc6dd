"""A lifter at the paper's size, trained on the 2D poses of a data set, labelled or detected.

Command:   python -m liftjax train --config lifter --workdir runs/lifters/mixste \\
               --config.lifter.name=mixste --config.data.dir=data/synthetic
           Of several frames, on Human3.6M's sequences (data_prep lifting):
           python -m liftjax train --config lifter --workdir runs/lifters/vpose243 \\
               --config.lifter.name=videopose3d --config.lifter.num_frames=243 \\
               --config.lifter.flip=True --config.batch_size=1024 \\
               --config.data.dir=data/human36m_poses --config.data.split=train
           and then python -m liftjax evaluate --workdir runs/lifters/vpose243
Frames:    videopose3d gives the middle frame of a window (27, 81, 243; its strided form trains, as
           its authors' does), mixste every frame of a clip, the others lift frames one by one.
           `batch_size` counts windows: 1024 is VideoPose3D's; MixSTE's is 4 clips of 243.
Hardware:  one accelerator; smaller sizes (--config.lifter.overrides.embed_dim=64) on a CPU.
Time:      the demo's small lifters take about half a minute each on two CPU cores. An epoch is
           `poses / batch_size` steps, twice as many with `flip`; published trainings have 60 to
           160 epochs.
Expected:  the demo's table shows them on synthetic people, row "gt". On Human3.6M's ground-truth 2D
           the paper's single-frame lifters have 35 to 41 mm (supplement, Table 1).
"""

from liftjax.configs.common import base


def get_config():
    config = base()
    config.task = "lifter"
    config.steps = 20_000
    config.batch_size = 256
    config.log_every = 100
    config.checkpoint_every = 2000
    config.data.split = "poses"
    config.lifter.name = "simple_baseline"
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 100
    return config
