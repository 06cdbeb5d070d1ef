"""Write down which annotated image is on which side, and look for near-duplicates across sides.

Reads image stores (t, c, z, y, x). Writes `split.tsv` (image, group, split, why, fold) and `leakage.tsv` (image_a, t_a,
image_b, t_b, split_a, split_b, similarity), the most similar first, LEAKS_KEPT at most; to it, folds are sides.
"""

import csv
from itertools import combinations, groupby, product
from pathlib import Path

import cv2
import numpy as np

from tessera.common.batch_outputs import find_stores
from tessera.common.even_sampling import evenly_spaced_indices
from tessera.common.job import running
from tessera.data.cross_validation import fold_or_subset
from tessera.data.normalization import normalize
from tessera.data.split import LEAKS_KEPT, SUBSETS, assign_split
from tessera.io.ome_zarr_store import open_array, read_metadata

FRAMES = 8  # of a movie, the first and the last among them
PLANE_PX = 256  # planes are brought to this size, whatever their shape
CELLS = 32  # side of a signature
SHIFT = 1  # cells by which two images may be displaced, so 1/32 of their size
COLUMNS = ("image_a", "t_a", "image_b", "t_b", "split_a", "split_b", "similarity")
BLOCK = 512  # signatures that are compared at once


def split(rows, images, output, leakage, *, leakage_similarity, **sides):
    """Write the side of every image of `rows` to `output`, and pairs that look alike across sides to `leakage`.

    Args:
        rows: the annotated rows of the table: dicts with image, truth, group and split.
        images: folders of batches that hold their stores; images that were set aside are not compared.
        output: path of the table of sides.
        leakage: path of the table of pairs.
        leakage_similarity: pairs that are more similar than this are listed; see `compare`.
        sides: seed, train, val, test, group_pattern and folds, see `tessera.data.split.assign_split`.
    """
    lines, remarks = assign_split(rows, **sides)
    write_table(output, ["image", "group", "split", "why", "fold"], lines)
    for side in SUBSETS:
        here = [line for line in lines if line["split"] == side]
        print(f"{side}: {len(here)} images of {len({line['group'] for line in here})} groups", flush=True)
    print("".join(f"{remark}\n" for remark in remarks), end="", flush=True)
    places = {line["image"]: fold_or_subset(line) for line in lines if line["split"] in SUBSETS}
    frames, signatures = [], []
    for image, path in find_stores(images, places).items():
        for t, plane in read_planes(path):
            frames.append((image, t, places[image]))
            signatures.append(signature(plane))
    count, pairs = find_leaks(frames, np.array(signatures), leakage_similarity)
    write_table(leakage, COLUMNS, pairs)
    listed = f"; the {len(pairs)} most similar are listed" if count > len(pairs) else ""
    print(f"{count} pairs of images in two sets have a similarity above {leakage_similarity}{listed}", flush=True)


def read_planes(path):
    """Yield (t, plane (y, x)) of some frames of a store: middle of z, mean of channels, from the coarsest level."""
    metadata = read_metadata(path)
    array = open_array(path, level=max(int(folder.name) for folder in Path(path).iterdir() if folder.name.isdigit()))
    count, _, depth, _, _ = array.shape
    for t in evenly_spaced_indices(count, FRAMES):
        yield t, normalize(np.moveaxis(array[t, :, depth // 2], 0, -1), metadata.contrast_limits).mean(-1)


def signature(plane):
    """Where in a plane there is how much detail: (CELLS, CELLS) float32, the same for light and dark detail.

    The same field in another focus or at another moment keeps its cells' places though their contrast turns, which the
    pixels' own correlation does not survive. Broad trends are taken out, since uneven light is common to all fields.
    """
    plane = cv2.resize(plane.astype(np.float32), (PLANE_PX, PLANE_PX), interpolation=cv2.INTER_AREA)
    detail = np.abs(plane - cv2.GaussianBlur(plane, (0, 0), 3))
    cells = cv2.GaussianBlur(cv2.resize(detail, (CELLS, CELLS), interpolation=cv2.INTER_AREA), (0, 0), 0.7)
    return cells - cv2.GaussianBlur(cells, (0, 0), 5)


def compare(some, others):
    """Similarity of each of `some` signatures (n, y, x) to each of `others` (m, y, x): (n, m) float32 up to 1.

    It is the greatest correlation over displacements by up to SHIFT cells; 0 for a plane without any detail.
    """
    steps = [(dy, dx) for dy in range(2 * SHIFT + 1) for dx in range(2 * SHIFT + 1)]
    size = CELLS - 2 * SHIFT
    centre = _unit(some[:, SHIFT:-SHIFT, SHIFT:-SHIFT])
    return np.max([centre @ _unit(others[:, dy : dy + size, dx : dx + size]).T for dy, dx in steps], axis=0)


def _unit(signatures):
    flat = signatures.reshape(len(signatures), -1)
    flat = flat - flat.mean(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(length > 1e-6, length, np.inf)


def find_leaks(frames, signatures, least):
    """Pairs of images on two sides that are more similar than `least`, each with its most similar frames.

    Args:
        frames: (image, t, side or fold) of each signature, the frames of an image in a row.
        signatures: (n, y, x).
        least: similarity above which a pair counts.

    Returns:
        How many there are, and dicts with the columns of `leakage.tsv` of the LEAKS_KEPT most similar, those first.
    """
    total, kept = 0, []
    folds = sorted({side for _, _, side in frames} - set(SUBSETS))
    for side_a, side_b in combinations([*folds, *SUBSETS], 2):
        for some, others in product(_blocks(frames, side_a), _blocks(frames, side_b)):
            similarity = compare(signatures[np.concatenate(some)], signatures[np.concatenate(others)])
            starts_a, starts_b = (np.cumsum([0, *map(len, images)]) for images in (some, others))
            best = np.maximum.reduceat(np.maximum.reduceat(similarity, starts_a[:-1], axis=0), starts_b[:-1], axis=1)
            pairs = np.argwhere(best > least)
            total += len(pairs)
            for a, b in pairs[np.argsort(-best[tuple(pairs.T)], kind="stable")][:LEAKS_KEPT]:
                part = similarity[starts_a[a] : starts_a[a + 1], starts_b[b] : starts_b[b + 1]]
                at_a, at_b = np.unravel_index(part.argmax(), part.shape)
                kept.append((float(best[a, b]), (frames[some[a][at_a]], frames[others[b][at_b]])))
            kept = sorted(kept, key=lambda pair: (-pair[0], pair[1]))[:LEAKS_KEPT]
    rows = ((*a[:2], *b[:2], a[2], b[2], f"{most:.3f}") for most, (a, b) in kept)
    return total, [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def _blocks(frames, side):
    """The numbers of the frames of a side, image by image, in blocks of about BLOCK frames or fewer."""
    numbers = (number for number, frame in enumerate(frames) if frame[2] == side)
    images = (list(group) for _, group in groupby(numbers, key=lambda number: frames[number][0]))
    return [list(block) for _, block in groupby(images, key=lambda image: image[0] // BLOCK)]


def write_table(path, columns, lines):
    """Write `lines`, dicts, as tab-separated values."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    with running(snakemake):
        split(
            rows=snakemake.params.rows,
            images=snakemake.input.images,
            output=snakemake.output.split,
            leakage=snakemake.output.leakage,
            **snakemake.params.settings,
        )
