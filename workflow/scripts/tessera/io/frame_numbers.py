"""Frame numbers in the names of files that are the frames of a movie."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from tessera.common.errors import InputError

SHOWN = 5  # missing numbers that a message lists


def describe_missing_numbers(files: Sequence[Path]) -> list[str]:
    """Return warnings about frame numbers that are missing in file names, as sentences without a subject.

    Args:
        files: one file for each frame, in order.
    """
    gap = _find_gap(files)
    if gap is None:
        return []
    numbers, shifted = gap
    step = min(_steps(numbers))
    missing = (number for a, b in itertools.pairwise(numbers) for number in range(a + step, b, step))
    count = (numbers[-1] - numbers[0]) // step + 1 - len(numbers)
    shown = ", ".join(map(str, itertools.islice(missing, SHOWN))) + (", ..." if count > SHOWN else "")
    return [
        f"has no file for {count} of its frame numbers ({shown}); later frames move up: frame {shifted} is "
        f"{files[shifted].name}"
    ]


def first_shifted_frame(files: Sequence[Path]) -> int | None:
    """Return the first frame after a number that is missing in the names of a movie's files; None if there is none."""
    gap = _find_gap(files)
    return gap and gap[1]


def check_frame_pairs(masks: Sequence[Path], images: Sequence[Path]) -> None:
    """Check that masks and images with the same place in their movies have matching numbers in their names.

    The numbers of masks and images may differ by a constant, and masks of every tenth frame may be numbered from 1.
    Numbers that are dates or times of day are ignored.

    Args:
        masks: a file of masks for each frame, in order.
        images: a file of the image for each frame, in order.

    Raises:
        InputError: a frame is missing from the masks or from the image, so that a mask belongs to another frame.
    """
    pairs = list(itertools.product(_increasing_numbers(masks), _increasing_numbers(images)))
    if any(_steps(mask_numbers) == _steps(image_numbers) for mask_numbers, image_numbers in pairs):
        return
    for mask_numbers, image_numbers in pairs:
        if _differ(_steps(mask_numbers), _steps(image_numbers)):
            t = next(
                t
                for t in range(len(mask_numbers))
                if mask_numbers[t] - mask_numbers[0] != image_numbers[t] - image_numbers[0]
            )
            raise InputError(
                f"{masks[t]}: would be paired with image {images[t].name} by sort order, and {masks[t - 1].name} with "
                f"{images[t - 1].name}, but the frame numbers differ. A frame is missing from the images or the "
                "masks: add it (use an empty mask) or rename the files so that the numbers match"
            )


def _increasing_numbers(files: Sequence[Path]) -> list[tuple[int, ...]]:
    """Return each number in the file names that increases from file to file: a list of (files,)."""
    # Folders count too, because a glob may have the numbers there. Numbers that all paths share do not increase.
    names = [[int(number) for number in re.findall("[0-9]+", str(file.with_suffix("")))] for file in files]
    if len({len(numbers) for numbers in names}) > 1:
        return []
    return [numbers for numbers in zip(*names, strict=True) if all(step > 0 for step in _steps(numbers))]


def _steps(numbers: Sequence[int]) -> list[int]:
    return [b - a for a, b in itertools.pairwise(numbers)]


def _find_gap(files: Sequence[Path]) -> tuple[tuple[int, ...], int] | None:
    """Return (frame numbers, first frame after a missing number), or None if no number is missing."""
    columns = _increasing_numbers(files)
    if any(len(set(_steps(numbers))) == 1 for numbers in columns):
        return None
    counted = next((numbers for numbers in reversed(columns) if _is_count(_steps(numbers))), None)
    if counted is None:
        return None
    return counted, next(t for t, step in enumerate(_steps(counted), 1) if step > min(_steps(counted)))


def _is_count(steps: Sequence[int]) -> bool:
    """Return whether numbers that grow by `steps` count frames of which some are missing. Times of day do not."""
    least = min(steps)
    return 2 * steps.count(least) >= len(steps) and all(step % least == 0 for step in steps)


def _differ(steps: Sequence[int], others: Sequence[int]) -> bool:
    """Return whether numbers that grow by different steps belong to different frames."""
    regular = [len(some) > 1 and len(set(some)) == 1 for some in (steps, others)]
    if all(regular):
        return False
    return _is_count(others if regular[0] else steps) if any(regular) else True
