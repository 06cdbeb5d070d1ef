"""Matches the channels of images by name or by order."""

from collections import defaultdict

from tessera.common.errors import InputError


def match_channels(name, channels, wanted, whose="the model"):
    """Which of the `channels` of image `name` is each of the `wanted`: by name, or by order where the names are others.

    Args:
        name: of the image, for messages.
        channels, wanted: names.
        whose: what the wanted channels are of, for messages.

    Raises:
        InputError: there are more or fewer than wanted, or some have the wanted names and others do not.
    """
    if len(channels) != len(wanted):
        raise InputError(
            f"{name}: has {len(channels)} channels ({', '.join(channels)}), the model was trained on {len(wanted)} "
            f"({', '.join(wanted)}); save those alone in its file, take it out of the table, or set "
            "ingest.on_bad_image to skipped, to go on without it"
        )
    if list(channels) == list(wanted):
        return list(range(len(wanted)))
    if len(set(channels)) == len(channels) and set(channels) == set(wanted):
        return [channels.index(channel) for channel in wanted]
    # Numbers are given to channels that have no names, and say nothing.
    if shared := sorted(channel for channel in set(channels) & set(wanted) if not channel.isdigit()):
        raise InputError(
            f"{name}: its channels ({', '.join(channels)}) are {whose}'s ({', '.join(wanted)}) only in part "
            f"({', '.join(shared)}); give both the same names, or take the image out of the table"
        )
    return list(range(len(wanted)))


def align_channels(sources):
    """Give each of `sources` (`tessera.data.annotated_images.AnnotatedImage`) the `order` that brings its channels into that of the first.

    Returns:
        The names of the channels.

    Raises:
        InputError: their numbers differ, or names in part.
    """
    by_count, by_names = defaultdict(list), defaultdict(list)
    for source in sources:
        by_count[len(source.metadata.channels)].append(source.image)
        by_names[tuple(source.metadata.channels)].append(source)
    if len(by_count) > 1:
        found = "; ".join(
            f"{count}: {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
            for count, names in sorted(by_count.items())
        )
        raise InputError(
            f"Images that train one network have different numbers of channels ({found}); convert them, or state "
            "split = predict for those of one kind"
        )
    first, wanted = sources[0], list(sources[0].metadata.channels)
    for names, alike in by_names.items():
        name = f"{alike[0].image} and {len(alike) - 1} more" if len(alike) > 1 else alike[0].image
        order = match_channels(name, list(names), wanted, first.image)
        if set(names) != set(wanted):
            theirs = f"{first.image}'s ({', '.join(wanted)})"
            print(f"{name}: its channels ({', '.join(names)}) are taken for {theirs}, in this order", flush=True)
        for source in alike:
            source.order = order
    return wanted
