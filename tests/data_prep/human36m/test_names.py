import pytest

from data_prep.human36m.names import (
    ACTIONS,
    assign_trials,
    canonical_action,
    file_numbers,
    parse_sequence,
    parse_subject,
)

SUBJECTS = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")


def test_every_spelling_has_one_name():
    spellings = {
        "TakingPhoto": "Photo", "Photo": "Photo", "WalkingDog": "WalkDog", "WalkDog": "WalkDog",
        "WalkingTogether": "WalkTogether", "WalkTogether": "WalkTogether", "Greeting": "Greeting",
        "walkingdog": "WalkDog", "SittingDown": "SittingDown", "Sitting": "Sitting",
    }  # fmt: skip
    assert {name: canonical_action(name) for name in spellings} == spellings
    assert {canonical_action(name) for name in ACTIONS} == set(ACTIONS)
    assert len(ACTIONS) == 15


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("Directions 1", ("Directions", "1")),
        ("Directions", ("Directions", "")),
        ("TakingPhoto 1", ("Photo", "1")),
        ("WalkDog_1", ("WalkDog", "1")),
        ("_ALL 1", None),
        ("_ALL", None),
        ("Miscellaneous 1", None),
    ],
)
def test_file_names(name, parsed):
    assert parse_sequence(name) == parsed


def test_subject_folders():
    assert [parse_subject(n) for n in ("S1", "s11", "S2", "extra")] == ["S1", "S11", None, None]


@pytest.mark.parametrize(
    ("subject", "action", "numbers"),
    [
        ("S1", "Directions", ("1", "")),
        ("S5", "Directions", ("1", "2")),
        ("S5", "SittingDown", ("", "1")),
        ("S1", "SittingDown", ("2", "")),
        ("S11", "Phoning", ("3", "2")),
        ("S7", "Photo", ("", "1")),
        ("S8", "WalkTogether", ("1", "2")),
        ("S9", "SittingDown", ("", "1")),
    ],
)
def test_file_numbers_of_the_two_trials_follow_the_archives_table(subject, action, numbers):
    assert file_numbers(subject, action) == numbers
    assert assign_trials(subject, action, set(numbers)) == dict(zip(numbers, (1, 2), strict=True))


def test_every_sequence_has_two_file_names():
    for subject in SUBJECTS:
        for action in ACTIONS:
            first, second = file_numbers(subject, action)
            assert first != second
            assert {first, second} <= {"", "1", "2", "3"}


def test_unknown_numbers_get_a_free_trial():
    assert assign_trials("S5", "Directions", {"1", ""}) == {"1": 1, "": 2}
    assert assign_trials("S5", "Directions", {""}) == {"": 2}
    assert assign_trials("S11", "Greeting", {"1", ""}) == {"1": 1, "": 2}
    assert assign_trials("S1", "Directions", {"1", "", "2"}) == {"1": 1, "": 2, "2": 3}
