"""Table of the budding yeast images of AC295: brightfield, classes background, mother, daughter.

File names are {position}_{time}_z_{focus}. Images of one position show one field, so the position is the group. The
authors' validation image, test-image.png, shows position 0 too. There are only six positions, so the split is stated
here: the position with the most images trains, and those with one or two images test.
"""

COLUMNS = ("image", "path", "truth", "group", "split")
SUBSETS = {"0": "train", "4": "train", "6": "train", "1": "val", "2": "test", "5": "test"}


def rows(folder):
    """Rows of the table; `folder` is yeast-ac295."""
    images = folder / "data" / "image_and_masks"
    for path in sorted([*images.glob("train_imgs/train/*.png"), *images.glob("val_imgs/val/*.png")]):
        masks = path.parent.parent.parent / path.parent.parent.name.replace("imgs", "masks") / path.parent.name
        position = "0" if path.stem == "test-image" else path.stem.split("_")[0]
        yield path.stem, path, masks / path.name, f"position-{position}", SUBSETS[position]
    for path in sorted(images.glob("test_imgs/test/*.jpg")):
        yield path.stem, path, "", "", ""
