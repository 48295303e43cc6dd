"""The names of Human3.6M's sequences: 15 actions, done twice by every subject.

The archive names its files after the order of recording ("Directions 1", "Directions", sometimes
"Directions 2"), spells three actions in two ways, and leaves out failed recordings, so that every
subject has other numbers. The data set's own table says which file is trial 1 and which is trial 2
of an action. h36m-fetch names its folders by trial ("Directions-1"); MMPose keeps the file names.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

SPLITS = {"train": ("S1", "S5", "S6", "S7", "S8"), "test": ("S9", "S11")}
SUBJECTS = SPLITS["train"] + SPLITS["test"]

# The names that the literature prints.
ACTIONS = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases",
    "Sitting", "SittingDown", "Smoking", "Waiting", "WalkDog", "Walking", "WalkTogether",
)  # fmt: skip
_ALIASES = {
    "takingphoto": "Photo", "takephoto": "Photo", "walkingdog": "WalkDog",
    "walkingtogether": "WalkTogether", "greetings": "Greeting", "purchasing": "Purchases",
    "direction": "Directions",
} | {action.lower(): action for action in ACTIONS}  # fmt: skip

# Action: for each of SUBJECTS the numbers in the file names of trials 1 and 2; - is no number.
_TRIALS = {
    "Directions":   "1- 12 1- 1- 1- 1- 1-",
    "Discussion":   "1- 23 1- 1- 1- 12 12",
    "Eating":       "2- 1- 12 1- 1- 1- 1-",
    "Greeting":     "1- 12 1- 1- 1- 1- 2-",
    "Phoning":      "1- 1- 1- 2- 1- 1- 32",
    "Photo":        "1- -2 -1 -1 1- 1- 1-",
    "Posing":       "1- 1- 2- 1- 1- 1- 1-",
    "Purchases":    "1- 1- 1- 1- 1- 1- 1-",
    "Sitting":      "12 1- 12 1- 1- 1- 1-",
    "SittingDown":  "2- -1 1- -1 -1 -1 -1",
    "Smoking":      "1- 1- 1- 1- 1- 1- 2-",
    "Waiting":      "1- 12 3- 12 1- 1- 1-",
    "WalkDog":      "1- 1- 1- 1- 1- 1- 1-",
    "Walking":      "1- 1- 1- 12 1- 1- 1-",
    "WalkTogether": "1- 1- 1- 1- 12 1- 1-",
}  # fmt: skip

# Labels that drift off the person by tens of centimetres in part of the sequence, in all cameras.
# Found by Iskakov et al., "Learnable Triangulation of Human Pose" (ICCV 2019), whose code leaves
# them out of its tests: "S9/[Greeting-2, SittingDown-2, Waiting-1]",
# https://github.com/karfly/learnable-triangulation-pytorch (mvn/datasets/human36m.py).
MISALIGNED = {("S9", "Greeting", 2), ("S9", "SittingDown", 2), ("S9", "Waiting", 1)}


def known_cause(subject: str, action: str, trial: int, camera: str) -> str:
    """What is known about a camera's missing or broken video; "" if nothing is."""
    if (subject, action, trial, camera) == ("S11", "Directions", 2, "54138969"):
        return "broken in older releases of the archive"  # before 2020; h36m-fetch skipped it
    return ""


def canonical_action(name: str) -> str | None:
    """The action's name in ACTIONS, from any spelling; None if it is not one of the 15."""
    return _ALIASES.get(re.sub(r"[^a-z]", "", name.lower()))


def parse_sequence(name: str) -> tuple[str, str] | None:
    """Action and file number ("" if it has none) of "Directions 1", "TakingPhoto", "Photo_2".

    None for what is not an action: "_ALL 1", "Miscellaneous".
    """
    match = re.fullmatch(r"([A-Za-z]+)(?:[ _-]+(\d+))?", name.strip())
    action = match and canonical_action(match[1])
    return (action, (match[2] or "").lstrip("0")) if action else None


def parse_subject(name: str) -> str | None:
    """ "S1" from the name of a subject's folder; None if it is not one of the seven with labels."""
    match = re.fullmatch(r"[Ss](?:ubject)?[ _-]?0*(\d+)", name)
    subject = f"S{match[1]}" if match else None
    return subject if subject in SUBJECTS else None


def file_numbers(subject: str, action: str) -> tuple[str, str]:
    """The numbers in the names of the files of trials 1 and 2, "" for no number."""
    cell = _TRIALS[action].split()[SUBJECTS.index(subject)]
    return cell[0].strip("-"), cell[1].strip("-")


def assign_trials(subject: str, action: str, numbers) -> dict[str, int]:
    """Trial of each of the file numbers present: {"1": 1, "": 2}.

    A number that the table does not list (a file renamed by hand) gets a free trial: preferably 1
    for "1" and 2 for others, else the next free one.
    """
    known = dict(zip(file_numbers(subject, action), (1, 2), strict=True))
    trials = {number: known[number] for number in sorted(numbers) if number in known}
    for number in sorted(set(numbers) - set(known), key=lambda n: (not n, n)):
        trial = 1 if number == "1" else 2
        trials[number] = next(
            t for t in (trial, 3 - trial, *range(3, 9)) if t not in trials.values()
        )
    return trials


def in_order_of_trials(
    subject: str, sequences: Iterable[tuple[str, str]]
) -> Iterator[tuple[str, str, int]]:
    """(action, file number, trial) of the subject's (action, file number), by action and trial."""
    numbers = defaultdict(set)
    for action, number in sequences:
        numbers[action].add(number)
    for action in sorted(numbers):
        trials = assign_trials(subject, action, numbers[action])
        for number, trial in sorted(trials.items(), key=lambda item: item[1]):
            yield action, number, trial
