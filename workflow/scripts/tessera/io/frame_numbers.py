"""Numberings: the running numbers in the names of files that are the frames of a movie."""

import itertools
import re

from tessera.common.errors import InputError

SHOWN = 5  # numbers that are left out


def describe_missing_numbers(files):
    """What to tell of frames whose running numbers leave some out, as sentences without a subject."""
    hole = _find_hole(files)
    if hole is None:
        return []
    column, moved = hole
    step = min(_steps(column))
    left_out = (number for a, b in itertools.pairwise(column) for number in range(a + step, b, step))
    count = (column[-1] - column[0]) // step + 1 - len(column)
    shown = ", ".join(map(str, itertools.islice(left_out, SHOWN))) + (", ..." if count > SHOWN else "")
    return [
        f"has no file for {count} of its running numbers ({shown}); the frames after them move up: frame {moved} is "
        f"{files[moved].name}"
    ]


def first_shifted_frame(files):
    """The first frame that comes after a number that the files of a movie leave out; None: there is none."""
    hole = _find_hole(files)
    return hole and hole[1]


def check_frame_pairs(files, images):
    """Refuse masks whose running numbers say that they are of other frames than those that they would be stored with.

    Numbers may differ by a constant, and masks of every tenth frame may be counted anew. Numbers in names may also be
    dates or times of day, of which nothing is known.

    Args:
        files: one of masks for each frame, in their order.
        images: one of the image for each frame, in their order.

    Raises:
        InputError: frames are missing of the masks, or of the image, and not the same ones.
    """
    pairs = list(itertools.product(_columns(files), _columns(images)))
    if any(_steps(one) == _steps(other) for one, other in pairs):
        return
    for one, other in pairs:
        if _differ(_steps(one), _steps(other)):
            t = next(t for t in range(len(one)) if one[t] - one[0] != other[t] - other[0])
            raise InputError(
                f"{files[t]}: would be stored with {images[t].name} by their order, as {files[t - 1].name} with "
                f"{images[t - 1].name}, but the numbers in their names do not go on alike: frames of one of them are "
                "missing; have both of the same frames (an empty mask where nothing is seen), numbered alike"
            )


def _columns(files):
    """Each of the numbers in the names of the files that grows from each file to the next, as it is in all of them."""
    # Folders count too, since a glob may have the numbers there; what all have in common does not grow.
    names = [[int(number) for number in re.findall("[0-9]+", str(file.with_suffix("")))] for file in files]
    if len({len(numbers) for numbers in names}) > 1:
        return []
    return [column for column in zip(*names, strict=True) if all(step > 0 for step in _steps(column))]


def _steps(column):
    return [b - a for a, b in itertools.pairwise(column)]


def _find_hole(files):
    """(running numbers, the first frame after one that is left out) of files; None where nothing is left out."""
    columns = _columns(files)
    if any(len(set(_steps(column))) == 1 for column in columns):
        return None
    column = next((column for column in reversed(columns) if _is_count(_steps(column))), None)
    return column and (column, next(t for t, step in enumerate(_steps(column), 1) if step > min(_steps(column))))


def _is_count(steps):
    """Whether numbers that grow by `steps` count, but for some that are left out: times of day do not."""
    least = min(steps)
    return 2 * steps.count(least) >= len(steps) and all(step % least == 0 for step in steps)


def _differ(one, other):
    """Whether numbers that grow by different steps are those of different frames."""
    regular = [len(steps) > 1 and len(set(steps)) == 1 for steps in (one, other)]
    if all(regular):
        return False
    return _is_count(other if regular[0] else one) if any(regular) else True
