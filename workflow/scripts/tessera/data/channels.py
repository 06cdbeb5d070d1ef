"""Matches the channels of images by name or by order."""

import logging
from collections import defaultdict
from collections.abc import Sequence

from tessera.common.errors import InputError
from tessera.data.annotated_images import AnnotatedImage

logger = logging.getLogger(__name__)


def match_channels(
    name: str, channels: Sequence[str], target: Sequence[str], target_owner: str = "the model"
) -> list[int]:
    """Return the index of the image's channel for each target channel.

    Channels are matched by name, or by order if none of the names agree. Numbers do not count as names.

    Args:
        name: name of the image, for messages.
        channels: names of the image's channels.
        target: names of the target channels.
        target_owner: owner of the target channels, for messages.

    Raises:
        InputError: the numbers of channels differ, or only some names agree.
    """
    if len(channels) != len(target):
        raise InputError(
            f"{name}: has {len(channels)} channels ({', '.join(channels)}), but the model was trained on {len(target)} "
            f"({', '.join(target)}); save only these channels in its file, remove it from the table, or set "
            "ingest.on_bad_image to skip"
        )
    if list(channels) == list(target):
        return list(range(len(target)))
    if len(set(channels)) == len(channels) and set(channels) == set(target):
        return [channels.index(channel) for channel in target]
    # Channels without names get numbers, which have no meaning.
    if shared := sorted(channel for channel in set(channels) & set(target) if not channel.isdigit()):
        raise InputError(
            f"{name}: its channels ({', '.join(channels)}) agree with the channels of {target_owner} "
            f"({', '.join(target)}) only in part ({', '.join(shared)}); give both the same names, or remove the image "
            "from the table"
        )
    return list(range(len(target)))


def align_channels(sources: Sequence[AnnotatedImage]) -> list[str]:
    """Set the `order` of each image, which brings its channels into the order of the first image.

    Args:
        sources: at least one annotated image.

    Returns:
        The names of the channels.

    Raises:
        InputError: the numbers of channels differ, or only some names agree.
    """
    by_count: dict[int, list[str]] = defaultdict(list)
    by_names: dict[tuple[str, ...], list[AnnotatedImage]] = defaultdict(list)
    for source in sources:
        by_count[len(source.metadata.channels)].append(source.image)
        by_names[tuple(source.metadata.channels)].append(source)
    if len(by_count) > 1:
        counts = "; ".join(
            f"{count}: {', '.join(images[:5])}{f' and {len(images) - 5} more' if len(images) > 5 else ''}"
            for count, images in sorted(by_count.items())
        )
        raise InputError(
            f"Images that train one network have different numbers of channels ({counts}); convert them, or set "
            "split to predict for images of one kind"
        )
    first, target = sources[0], list(sources[0].metadata.channels)
    for channels, same_channels in by_names.items():
        name = same_channels[0].image
        if len(same_channels) > 1:
            name += f" and {len(same_channels) - 1} more"
        order = match_channels(name, list(channels), target, first.image)
        if set(channels) != set(target):
            logger.warning(
                "%s: channels (%s) are matched by order to those of %s (%s)",
                name,
                ", ".join(channels),
                first.image,
                ", ".join(target),
            )
        for source in same_channels:
            source.order = order
    return target
