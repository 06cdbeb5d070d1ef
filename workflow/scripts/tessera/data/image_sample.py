"""Samples of images, in an order that depends only on their names, so that further images seldom change a sample."""

from collections.abc import Iterable

from tessera.data.cross_validation import unit_hash

MAX_SAMPLED = 8  # images


def sample_position(name: str) -> tuple[float, str]:
    """Return the position of an image in the order of sampling; smaller ones come first."""
    return unit_hash(0, name), name


def sample_images(names: Iterable[str]) -> list[str]:
    """Return up to MAX_SAMPLED images, the first ones in the order of sampling."""
    return sorted(names, key=sample_position)[:MAX_SAMPLED]
