import importlib
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from liftjax.errors import LiftjaxError
from liftjax.recipes import load_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_builds_and_says_how_it_is_run(name):
    config = load_recipe(name)
    assert isinstance(config, ConfigDict)
    module = importlib.import_module(f"liftjax.configs.{name}")
    for said in ("Command:", "Hardware:", "Time:", "Expected:"):
        assert said in module.__doc__


def test_overrides_reach_nested_keys_and_open_sections():
    config = load_recipe(
        "multi_model",
        ["loss.beta=50", "detector.image_size=(128,96)", "lifters.mixste=runs/x", "seed=3"],
    )
    assert config.loss.beta == 50.0
    assert isinstance(config.loss.beta, float)
    assert config.detector.image_size == (128, 96)
    assert config.lifters.mixste == "runs/x"
    assert config.seed == 3


def test_a_recipe_file_is_loaded_by_path(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from liftjax.configs.ft2d import get_config as base\n\n"
        "def get_config():\n    c = base()\n    c.steps = 7\n    return c\n"
    )
    assert load_recipe(str(path)).steps == 7


@pytest.mark.parametrize(
    ("recipe", "override", "message"),
    [
        ("ft2d", "loss.betta=50", "Unknown config key 'loss.betta'; did you mean 'loss.beta'"),
        ("ft2d", "los.beta=50", "did you mean 'loss.beta'"),
        ("ft2d", "loss.beta=fast", "config.loss.beta is a float"),
        ("ft2d", "loss=3", "config.loss is a section"),
        ("ft2d", "steps", "has no value"),
        ("ft2d", "data.cache=1", "config.data.cache is a bool"),
        ("ft2d", "loss.weights.l_2d=fast", "config.loss.weights.l_2d is a float; 'fast' is a str"),
        ("ft2d", "loss.weights.l_2d=[1]", "l_2d is a float; (1,) is a tuple"),
        ("ft2d", "loss.weights.l_2d={1}", "l_2d: {1} is not a text, a number or a list of them"),
        ("ft2d", "loss.lifter_precision=3", "config.loss.lifter_precision is a str; 3 is an int"),
        ("ft2d", "detector.image_size={'a': 1}", "image_size is a tuple; {'a': 1} is a dict"),
        ("ft2d", "detector.image_size=[b'a', 2]", "image_size: b'a' is not a text"),
        ("ft2d", f"loss.beta={'9' * 400}", "config.loss.beta has a number of 1329 bits"),
        ("ft2d", f"steps={'9' * 400}", "config.steps has a number of 1329 bits"),
        ("ft2d", f"steps={'9' * 5000}", "config.steps is an int, for example"),
        ("ftd2", "seed=1", "Unknown recipe 'ftd2'; did you mean 'ft2d'"),
        ("no/such.py", "seed=1", "No recipe file no/such.py"),
    ],
)
def test_mistakes_are_named_with_the_cure(recipe, override, message):
    with pytest.raises(LiftjaxError, match=re.escape(message)) as error:
        load_recipe(recipe, [override])
    assert "\n" not in str(error.value)


def test_what_is_none_by_default_takes_its_own_kind():
    config = load_recipe(
        "ft2d",
        ["loss.weights.l_2d=2", "detector.image_size=[64,48]", "loss.lifter_precision=high"],
    )
    assert config.loss.weights.l_2d == 2.0
    assert isinstance(config.loss.weights.l_2d, float)
    assert config.detector.image_size == (64, 48)
    assert config.loss.lifter_precision == "high"
    assert load_recipe("ft2d", ["detector.image_size=None"]).detector.image_size is None


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ("[1]", "it is a section; (1,) is not."),
        ('{"lifter": {"checkpoint": 3}}', "config.lifter.checkpoint is a str"),
        ('{"lifter": {"checkpoint": {}}}', "config.lifter.checkpoint is a str"),
        ('{"lifters": {"mixste": [1]}}', "config.lifters.mixste is a str; (1,) is a tuple"),
        ('{"lifters": "runs/x"}', "config.lifters is a section; 'runs/x' is not."),
        ('{"data": {"augment": 3}}', "config.data.augment is a section; 3 is not."),
        ('{"loss": {"weights": {"l_z": "x"}}}', "config.loss.weights.l_z is a float"),
        (f'{{"seed": {"9" * 400}}}', "config.seed has a number of 1329 bits"),
        (f'{{"seed": {"9" * 5000}}}', "Exceeds the limit"),
        ("[" * 100000, "recursion"),
    ],
)
def test_a_run_with_values_of_other_kinds(tmp_path, stored, message):
    path = tmp_path / "config.json"
    path.write_text(stored)
    with pytest.raises(LiftjaxError, match=re.escape(message)) as error:
        load_recipe(str(path))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path} is not the config.json of a run: ")


def test_a_run_is_a_recipe(tmp_path):
    config = load_recipe("multi_model", ["detector.overrides.modules=[1,1,1]", "seed=5"])
    assert config.detector.overrides.modules == (1, 1, 1)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()))
    assert load_recipe(str(path)).to_dict() == config.to_dict()


def test_names_stay_text_even_where_they_look_like_numbers():
    config = load_recipe("single_model", ["lifters.mixste=2024", "detector.checkpoint=7"])
    assert config.lifters.mixste == "2024"
    assert config.detector.checkpoint == "7"


def test_a_run_of_an_older_version_gets_the_defaults_of_newer_keys(tmp_path):
    config = load_recipe("coco_h36m", ["lifters.mixste=runs/x", "data.subjects=['S1']"])
    stored = config.to_dict()
    del stored["data"]["augment"], stored["data"]["shares"], stored["distill"]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(stored))
    again = load_recipe(str(path))
    assert again.data.augment.flip == 0.0
    assert again.data.shares == ()
    assert again.data.subjects == ("S1",)
    assert again.lifters.to_dict() == {"mixste": "runs/x"}
    assert again.distill == config.distill


@pytest.fixture(params=["package", "folder"])
def own_configs(request, tmp_path, monkeypatch):
    """A package or plain folder `configs` of the user's in the current directory, and loaded."""
    folder = tmp_path / "configs"
    folder.mkdir()
    if request.param == "package":
        (folder / "__init__.py").write_text("mine = True\n")
    for name in ("ft2d", "common", "special"):
        (folder / f"{name}.py").write_text("steps = 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    ours = {name: m for name, m in sys.modules.items() if name.partition(".")[0] == "configs"}
    for name in ours:
        del sys.modules[name]
    importlib.import_module("configs")
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "configs"]:
        del sys.modules[name]
    sys.modules.update(ours)


def test_configs_of_the_users_hide_no_recipe(own_configs, tmp_path):
    assert "coco_h36m" in recipe_names()
    assert "special" not in recipe_names()
    assert load_recipe("ft2d").batch_size == 64
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"steps": 9}))
    assert (load_recipe(str(path)).steps, load_recipe(str(path)).optim.name) == (9, "adam")


@pytest.mark.parametrize("place", ["mine.py", "configs/mine.py"])
def test_a_recipe_file_imports_recipes_of_liftjax_and_modules_of_the_users(own_configs, place):
    Path(place).write_text(
        "from configs.ft2d import steps\nfrom liftjax.configs.ft2d import get_config as base\n\n"
        "def get_config():\n    c = base()\n    c.steps = steps\n    return c\n"
    )
    config = load_recipe(place)
    assert (config.steps, config.batch_size) == (7, 64)


@pytest.mark.parametrize("missing", ["configs.ft2d import get_config", "configs.none import x"])
def test_a_recipe_file_that_takes_the_users_configs_for_liftjaxs(own_configs, missing):
    Path("mine.py").write_text(f"from {missing}\n")
    with pytest.raises(LiftjaxError, match=r"mine.py: .*; liftjax's recipes are `liftjax.configs`"):
        load_recipe("mine.py")


def test_threads_may_load_recipes_at_once():
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(load_recipe, ["ft2d", "multi_model"] * 20))
    assert loaded[::2] == [load_recipe("ft2d")] * 20
    assert loaded[1::2] == [load_recipe("multi_model")] * 20
