"""Files that are written whole or not at all."""

import pytest

from liftjax.errors import LiftjaxError
from liftjax.writing import output_file


def test_a_file_takes_the_place_of_the_one_before(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for text in ("first", "second"):
        with output_file(path) as partial:
            assert partial.parent == path.parent
            assert partial.suffix == ".txt"
            partial.write_text(text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_what_fails_leaves_nothing_and_keeps_what_was(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fail(error):
        with output_file(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(LiftjaxError, match=r"Could not write .*a\.txt: No space left.*--out"):
        fail(OSError(28, "No space left on device"))
    with pytest.raises(KeyboardInterrupt):
        fail(KeyboardInterrupt())
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_where_a_folder_should_be_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LiftjaxError, match="Could not write"), output_file(tmp_path / "file" / "a"):
        pass
