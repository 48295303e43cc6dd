"""Every page: its commands are ones, its links lead somewhere, it is found from the README."""

import importlib
import re
import shlex
from pathlib import PurePosixPath

import pytest

from data_prep.__main__ import COMMANDS
from liftjax import cli
from liftjax.recipes import recipe_names
from tests.documents import (
    PAGES,
    ROOT,
    anchors,
    blocks,
    check,
    commands,
    links,
    local,
    paths,
    spans,
    text,
)


def test_it_opens_with_the_demo_and_the_tests():
    first = text("README.md").split("```sh\n")[1].splitlines()[:2]
    assert first[0] == "pip install -r requirements.txt && python -m liftjax demo"
    assert first[1] == "pip install -r tests/requirements.txt && python -m pytest"


@pytest.mark.parametrize("page", PAGES)
def test_commands_parse_and_their_recipes_build(page):
    for language, body in blocks(page):
        assert language in ("sh", "bash", "python", "py", "math", "json", "toml"), language
        if language in ("sh", "bash"):
            for words in (one for given in commands(body) for one in local(given)):
                check(words)


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_sentences_parse(page):
    for words in spans(page):
        if any(word.startswith("-") for word in words[3:]):
            check(words)
        else:  # a command's name, or the beginning of it
            with pytest.raises(SystemExit) as stop:
                check([*words, "--help"])
            assert stop.value.code == 0


@pytest.mark.parametrize("recipe", recipe_names())
def test_commands_in_recipes_parse(recipe):
    said = importlib.import_module(f"configs.{recipe}").__doc__.replace("\\\n", " ")
    found = re.findall(r"python -m (?:liftjax|data_prep) .*", said)
    assert found
    for line in found:
        check(shlex.split(line))


def test_examples_in_help_parse():
    subparsers = cli._parser()._subparsers._group_actions[0].choices
    examples = {name: parser.epilog for name, parser in subparsers.items()}
    examples |= {n: f"\npython -m data_prep {n} {c[2]}" for n, c in COMMANDS.items()}
    for name, epilog in examples.items():
        lines = epilog.replace("\\\n", " ").splitlines()[1:]
        assert lines, name
        for line in lines:
            check(shlex.split(line))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in links(page):
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(str(path.resolve().relative_to(ROOT))), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES)
def test_files_that_sentences_name_exist(page):
    for path in paths(page):
        assert (ROOT / path).exists(), f"{page}: {path}"


def test_every_page_is_found_from_the_readme():
    found, new = set(), {"README.md"}
    while new:
        page = new.pop()
        found.add(page)
        for target in links(page):
            path = PurePosixPath(page).parent / target.partition("#")[0]
            name = (ROOT / path).resolve().relative_to(ROOT).as_posix()
            if name in PAGES and name not in found:
                new.add(name)
    assert found == set(PAGES)
