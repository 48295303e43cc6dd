"""Names of output files, and writers that fail midway."""

import contextlib
from pathlib import Path

import pytest

from liftjax.errors import LiftjaxError
from liftjax.inference import command
from liftjax.inference.files import picture_stems, plain_name, with_ending
from tests.inference.outputs.sample_result import sample_result, without

WRITERS = command.OUTPUTS


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("is_video", [True, False])
def test_a_source_that_fails_midway_leaves_no_half_file(name, is_video, tmp_path):
    result = sample_result(4, is_video=is_video)

    class Source:
        name, given, fps = "walk", "walk", 30.0

        def frames(self):
            yield from list(result.source.frames())[:2]
            raise LiftjaxError("the file is cut off")

    source = Source()
    source.is_video = is_video
    broken = without(result, source=source)
    reads_the_source = name in ("overlay", "html")
    if reads_the_source:
        with pytest.raises(LiftjaxError, match="cut off"):
            WRITERS[name](broken, tmp_path / "walk")
    else:
        WRITERS[name](broken, tmp_path / "walk")
    left = [path for path in tmp_path.iterdir() if "partial" in path.name]
    assert left == []
    if is_video and reads_the_source:
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_is_a_file_is_one_clear_line(name, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LiftjaxError) as caught:
        WRITERS[name](sample_result(2), tmp_path / "file" / "walk")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "file") in str(caught.value)


@contextlib.contextmanager
def files_of_at_most(size: int):
    """As on a disk that becomes full: the system refuses to write more into a file."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("is_video", [True, False])
def test_a_full_disk_is_one_clear_line_and_leaves_nothing(name, is_video, tmp_path):
    result = sample_result(30, is_video=is_video)
    with files_of_at_most(1000), pytest.raises(LiftjaxError) as caught:
        WRITERS[name](result, tmp_path / "walk")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "File too large" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WRITERS)
def test_nobody_found_is_written_too(name, tmp_path):
    everybody = sample_result(3)
    nobody = without(everybody, rows=everybody.rows[:0])
    written = WRITERS[name](nobody, tmp_path / "walk")
    assert len(written) == (0 if name == "bvh" else 1)
    assert sorted(tmp_path.iterdir()) == sorted(written)


@pytest.mark.parametrize("name", WRITERS)
def test_files_begin_with_the_stem_even_if_it_has_dots(name, tmp_path):
    for path in WRITERS[name](sample_result(2), tmp_path / "walk.v2"):
        assert path.exists()
        assert path.name.startswith("walk.v2")


def test_endings_are_added():
    assert with_ending(Path("out/walk.v2"), ".json") == Path("out/walk.v2.json")


def test_pictures_have_different_names_everywhere():
    names = ["a.jpg", "a.png", "A.gif", "a_2.jpg", "more/b.jpg", "b.jpg"]
    stems = picture_stems(names)
    assert stems[0] == "a"
    assert stems[4:] == ["more_b", "b"]
    assert len({stem.casefold() for stem in stems}) == len(names)


def test_any_text_is_part_of_a_name():
    assert plain_name("mixste") == "mixste"
    assert plain_name("runs/my lifter:3") == "runs_my_lifter_3"
    assert plain_name("//") == "_"
