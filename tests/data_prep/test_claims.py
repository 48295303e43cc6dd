"""Processes that build the same data set keep out of each other's way."""

import dataclasses

import pytest

from data_prep import building, claims
from data_prep.building import build_dataset, merge_shards
from data_prep.parts import building_directory, notes_directory
from liftjax.errors import LiftjaxError
from tests.data_prep.toy_source import plan

REFUSED = "Another process is building"


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "_SHARDS_PATIENCE_S", 0)
    return tmp_path / "set"


def hidden(out):
    return sorted(path.name for path in out.parent.iterdir() if path.name.startswith("."))


def test_beside_a_whole_build_there_is_no_other(source, out):
    build_dataset(plan(source), out)
    with claims.alone(out):
        notes_directory(out).mkdir()  # of a build with other settings, say
        for shard in ((0, 1), (1, 2)):
            with pytest.raises(LiftjaxError, match=REFUSED):
                build_dataset(plan(source, scale=1.1), out, shard=shard)
        with pytest.raises(LiftjaxError, match=REFUSED):
            build_dataset(plan(source), out)  # which has nothing to do, and nothing to remove
        with pytest.raises(LiftjaxError, match=REFUSED):
            merge_shards(out)
        assert notes_directory(out).exists()
    build_dataset(plan(source), out)
    assert hidden(out) == []


def test_beside_a_shard_there_are_others(source, out):
    with claims.one_of(out, (0, 2), 0):
        for shard in ((0, 1), (0, 2)):
            with pytest.raises(LiftjaxError, match=REFUSED):
                build_dataset(plan(source), out, shard=shard)
        build_dataset(plan(source), out, shard=(1, 2))
        with pytest.raises(LiftjaxError, match=REFUSED):
            merge_shards(out)
    build_dataset(plan(source), out, shard=(0, 2))
    merge_shards(out)
    assert hidden(out) == []


def test_beside_a_shard_nobody_starts_over(source, out):
    build_dataset(plan(source), out, shard=(0, 2))
    with claims.one_of(out, (0, 2), 0):
        before = sorted(notes_directory(out).iterdir())
        with pytest.raises(LiftjaxError, match=REFUSED):
            build_dataset(plan(source, scale=1.1), out, shard=(1, 2))
        assert sorted(notes_directory(out).iterdir()) == before
    build_dataset(plan(source, scale=1.1), out, shard=(1, 2))
    assert len(list(notes_directory(out).glob("*-*.json"))) < len(before)


def test_a_refused_shard_removes_nothing_of_the_others(source, out):
    broken = plan(source)
    first, *others = broken.parts["train"][1]
    broken.parts["train"][1] = (dataclasses.replace(first, scales=(1000.0,)), *others)
    with claims.one_of(out, (0, 2), 0):
        with pytest.raises(LiftjaxError, match="long"):
            build_dataset(broken, out, shard=(1, 2))
        assert building_directory(out).exists()
        assert notes_directory(out).exists()


def test_a_claim_on_a_removed_file_is_none(out):
    """A process that opened the file before its holder removed it takes the new one."""
    with claims.alone(out):
        pass
    with claims.alone(out):
        claims._path(out).unlink()
        with claims.alone(out):
            assert claims._path(out).exists()
    assert hidden(out) == []
