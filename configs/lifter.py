"""A lifter at the paper's size, trained on ground-truth 2D poses, one frame at a time.

Command:   python -m liftjax train --config lifter --workdir runs/lifters/mixste \\
               --config.lifter.name=mixste --config.data.dir=data/synthetic
Hardware:  one accelerator; smaller sizes (--config.lifter.overrides.embed_dim=64) on a CPU.
Time:      the demo's small lifters take about half a minute each on two CPU cores.
Expected:  the demo's table shows them on synthetic people, row "gt".
"""

from configs.common import base


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
