"""Table of the phase-contrast fields of Usiigaci: adherent cells, instance ids, some cells in several pieces."""

COLUMNS = ("image", "path", "truth")


def rows(folder):
    """Rows of the table; `folder` is phase-usiigaci."""
    for path in sorted(folder.glob("set*/raw.tif")):
        yield path.parent.name, path, path.parent / "instances_ids.png"
