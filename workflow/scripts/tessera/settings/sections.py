"""The settings of Tessera: one class per section of the configuration.

These classes are the only place that defines a setting. `python -m tessera.settings.generate` (or `make settings`)
writes `workflow/schemas/config.schema.yaml`, `config/config.yaml` and the tables of `docs/settings.md` from them.

Scripts read their section from the parameters of the job and pass it on as one argument:

    settings = SegmentSettings.model_validate(snakemake.params.settings)

Settings marked `RUNTIME` decide how a job runs, not what it makes. They are not in `params`, so that changing them
reruns nothing. A section with such settings is read from both places:

    settings = PredictSettings.model_validate(snakemake.config["predict"] | snakemake.params.settings)

Functions take the section (`def segment(..., *, settings: SegmentSettings)`) and read `settings.min_area_px`. Tests
build one with the defaults and their own values: `SegmentSettings(min_area_px=4)`. Sections cannot be changed; a copy
with other values is `settings.model_copy(update={"min_area_px": 4})`, a dictionary is `settings.model_dump()`.

The first sentence of each description is the comment in `config.yaml`, so it is short. The others say when to change
the setting. Checks of settings that depend on each other are in `tessera.planning.cross_checks`.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

NAME_PATTERN = r"^(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}$"

PX = Field(json_schema_extra={"unit": "px"})
UM = Field(json_schema_extra={"unit": "µm"})
UM2 = Field(json_schema_extra={"unit": "µm²"})
SECONDS = Field(json_schema_extra={"unit": "s"})
MINUTES = Field(json_schema_extra={"unit": "min"})
FRAMES = Field(json_schema_extra={"unit": "frames"})
EPOCHS = Field(json_schema_extra={"unit": "epochs"})
RUNTIME = Field(json_schema_extra={"runtime": True})  # decides how a job runs, not what it makes


def _check_unique(values: list[Any]) -> list[Any]:
    if any(value in values[:place] for place, value in enumerate(values)):
        raise ValueError("has duplicates")
    return values


Unique = AfterValidator(_check_unique), Field(json_schema_extra={"uniqueItems": True})

Auto = Literal["auto"]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1000)]
Area = Annotated[float, Field(ge=0, le=1_000_000_000)]
Name = Annotated[str, Field(min_length=1)]
Color = Annotated[str, Field(pattern="^#[0-9a-f]{6}$", description="Color: red, green, blue.")]
ClassName = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f](.{0,98}[^\s\x00-\x1f])?$", description="Name of a class.")]
ImageName = Annotated[
    str,
    Field(
        pattern=NAME_PATTERN,
        description="letters a to z, digits and . _ + -, beginning with a letter, a digit or _",
    ),
]
SeedNumber = Annotated[int, Field(ge=0, le=4294967295)]
Seed = Annotated[SeedNumber, Field(description="Seed of all random choices. Another number gives another start.")]
LossName = Literal["dice", "jaccard", "tversky", "cross_entropy", "focal"]
Device = Literal["auto", "cpu", "gpu"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]


class Section(BaseModel):
    """A section of the configuration. It cannot be changed, and unknown settings are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, regex_engine="python-re", defer_build=True
    )


class MovieSettings(Section):
    """One simulated movie."""

    seed: Seed = 0
    frames: Annotated[int, FRAMES, Field(ge=1, le=1000, description="Number of frames.")] = 20
    size_px: Annotated[int, PX, Field(ge=64, le=16384, description="Side of the square frame.")] = 320
    cells: Annotated[int, Field(ge=1, le=100_000, description="Number of cells in the first frame.")] = 24
    diameter_px: Annotated[float, PX, Field(ge=10, le=1000, description="Typical diameter of a cell.")] = 22
    cycle_frames: Annotated[
        float, FRAMES, Field(gt=1, le=100_000, description="Frames from the birth of a cell to its division.")
    ] = 16
    smaller_daughter_fraction: Annotated[
        float, Field(ge=0.2, le=0.5, description="Fraction of the mother's area that the smaller daughter gets.")
    ] = 0.5
    speed_px: Annotated[float, PX, Field(ge=0, le=1000, description="Typical distance a cell moves per frame.")] = 1.5
    photons: Annotated[
        float,
        Field(gt=0, le=100_000, description="Photons per pixel of a typical cell. Fewer photons give more noise."),
    ] = 200
    pixel_size_um: Annotated[float, UM, Field(gt=0, le=1000, description="Side of a pixel.")] = 0.5
    frame_interval_s: Annotated[
        float, SECONDS, Field(gt=0, le=10_000_000, description="Time between consecutive frames.")
    ] = 600


class SimulateSettings(MovieSettings):
    """Movies of dividing cells to simulate. Leave `movies` empty when you analyze your own data."""

    movies: Annotated[
        dict[ImageName, MovieSettings],
        Field(
            description="Movies to simulate, by name; config/demo/config.yaml shows an example. Each movie may set "
            "any of the other settings of this section, which otherwise hold for all movies."
        ),
    ] = {}


class IngestSettings(Section):
    """Conversion of raw files to OME-Zarr."""

    on_bad_image: Annotated[
        Literal["fail", "skip"],
        RUNTIME,
        Field(
            description="What to do with images that cannot be read or do not fit the model. `fail` names all of "
            "them and stops; finished images are kept. `skip` continues without them and lists them in the report: "
            "use it for large screens with a few broken files."
        ),
    ] = "fail"
    chunk_px: Annotated[
        int, PX, Field(ge=16, le=16384, description="Side of a Zarr chunk in y and x, the unit of reading.")
    ] = 512
    shard_px: Annotated[
        int,
        PX,
        Field(
            ge=16,
            le=65536,
            description="Size of a Zarr shard, a file and the unit of writing: it holds at most shard_px x shard_px "
            "pixels of each channel, of one plane or of several small planes and frames. A multiple of chunk_px. "
            "Memory grows with its square.",
        ),
    ] = 4096


class IngestTruthSettings(Section):
    """Conversion of annotations to labels. These settings apply to imported masks too."""

    disconnected_labels: Annotated[
        Literal["keep", "split"],
        Field(
            description="What to do with an id whose pixels are not connected. `keep` makes one object, such as a "
            "cell crossed by a fiber. `split` makes one object per connected component: use it if the annotation "
            "only distinguishes cell from background. `split` does not work for annotations with tracks."
        ),
    ] = "keep"
    ignore_label: Annotated[
        Annotated[int, Field(ge=-2147483648, le=4294967295)] | None,
        Field(
            description="Pixel value of regions that nobody annotated, such as 255; null: none. These pixels are "
            "excluded from training and scores. It must not be the id of a cell. Not for folders with one mask per "
            "object."
        ),
    ] = None
    colors: Annotated[
        dict[Color, ClassName] | None,
        Field(
            min_length=1,
            description="Class of each color, such as {'#000000': background, '#ff0000': tumor}, if annotations are "
            "images whose colors are classes; null: pixels are numbers. The class ignore marks pixels that nobody "
            "annotated.",
        ),
    ] = None
    outlines: Annotated[
        bool,
        Field(
            description="Whether annotations are images of the outlines of objects: 0 except on the outlines. The "
            "areas that they enclose are the objects; those at the border of the image are background."
        ),
    ] = False


class SplitSettings(Section):
    """Assignment of annotated images to training, validation and test set."""

    seed: Annotated[
        SeedNumber, Field(description="Seed of the assignment. Another number assigns the groups differently.")
    ] = 0
    train: Annotated[
        PositiveFraction,
        Field(
            description="Fraction of groups for training. The three fractions add up to 1; use more with few groups."
        ),
    ] = 0.7
    val: Annotated[
        Fraction, Field(description="Fraction of groups for validation, which decides which epoch is the best.")
    ] = 0.2
    test: Annotated[
        Fraction, Field(description="Fraction of groups for the test set, which is used for scores only.")
    ] = 0.1
    group_pattern: Annotated[
        Name | None,
        Field(
            description="Regular expression to read the group from an image name; null: none. Without it, each image "
            "is its own group. The group is the first bracket of the match, or the whole match. The column `group` "
            "of the table takes precedence."
        ),
    ] = None
    folds: Annotated[
        int,
        Field(
            ge=1,
            le=100,
            description="Number of cross-validation folds; 1 trains one model. With 5, five models are trained, each "
            "validated on other groups, and all five predict together. This takes five times as long and helps if "
            "there are few groups.",
        ),
    ] = 1
    leakage_similarity: Annotated[
        Fraction,
        Field(
            description="Similarity above which images of two sets are reported; 1: the same image. Lower it to see "
            "more pairs."
        ),
    ] = 0.8


class TransformSettings(BaseModel):
    """One transform; besides `name` and `p` it takes the arguments of albumentations."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, defer_build=True)

    # fmt: off
    name: Annotated[
        Literal[
            "HorizontalFlip", "VerticalFlip", "Transpose", "RandomRotate90", "D4", "Affine", "Perspective",
            "ElasticTransform", "GridDistortion", "OpticalDistortion", "ThinPlateSpline", "RandomBrightnessContrast",
            "RandomGamma", "RandomToneCurve", "CLAHE", "InvertImg", "Illumination", "PlasmaBrightnessContrast",
            "PlasmaShadow", "ColorJitter", "HueSaturationValue", "RGBShift", "PlanckianJitter", "HEStain", "ToGray",
            "ChannelShuffle", "ChannelDropout", "GaussianBlur", "MedianBlur", "MotionBlur", "Defocus", "Downscale",
            "Sharpen", "UnsharpMask", "GaussNoise", "ShotNoise", "MultiplicativeNoise", "ISONoise", "SaltAndPepper",
            "ImageCompression", "CoarseDropout", "PixelDropout",
        ],
        Field(description="Name of the transform in albumentations."),
    ]
    # fmt: on
    p: Annotated[Probability, Field(description="Probability that the transform is applied to a patch.")] = 0.5


class AugmentSettings(Section):
    """Training patches. `auto` values are chosen from the training images; the log and the report show them."""

    seed: Annotated[SeedNumber, Field(description="Seed of the patches. Another number draws other patches.")] = 0
    patch_size_px: Annotated[
        Auto | Annotated[int, Field(ge=32, le=2048, multiple_of=32)],
        PX,
        Field(
            description="Side of a training patch. `auto` fits four large objects side by side, from 96 to 512, and "
            "is not larger than most images. Larger patches need more memory."
        ),
    ] = "auto"
    n_patches: Annotated[
        int,
        Field(
            ge=1,
            le=1_000_000,
            description="Number of training patches. 500 are enough to start; use 2000 or more with many annotated "
            "images. Validation patches cover their images, at most half as many.",
        ),
    ] = 512
    class_balanced_fraction: Annotated[
        Fraction,
        Field(
            description="Fraction of patches centered on a randomly drawn class; others are anywhere. All classes "
            "are drawn equally often. Raise it if a class is rare, lower it if background is mistaken for cells."
        ),
    ] = 0.5
    boundary_px: Annotated[
        int,
        PX,
        Field(
            ge=1,
            le=64,
            description="Width of the boundary that the network learns between cells. 2 suits cells of 15 px or "
            "more; use 1 for smaller cells, 3 or 4 for large cells that merge.",
        ),
    ] = 2
    normalization: Annotated[
        Literal["auto", "asinh", "percentile", "fixed"],
        Field(
            description="How intensities become numbers for the network. `asinh` measures background and typical "
            "contrast in each frame and channel and compresses brighter intensities like a logarithm, so exposure, "
            "bleaching and a few very bright objects do not matter. `percentile` maps the 1st and 99.8th percentile of "
            "each image and channel to 0 and 1. `fixed` takes the median of these limits over the training images: use "
            "it if an intensity means the same in all images. `auto` takes `fixed` if five or more 8-bit images have "
            "limits that differ by at most a tenth; else `asinh` with the preset fluorescence, and `percentile` with "
            "others."
        ),
    ] = "auto"
    signal_variation: Annotated[
        Auto | Fraction,
        Field(
            description="Fraction of patches in which objects get another brightness, and fraction in which noise is "
            "added. Brightness changes up to ten times, and noise is that of down to two photons per pixel. So the "
            "network finds dim objects in images with more noise than the training images have. `auto` is 0.5 with the "
            "preset fluorescence, else 0. Set it to 0 if brightness tells objects from others."
        ),
    ] = "auto"
    rescale_by: Annotated[
        Literal["auto", "none", "pixel_size", "object_diameter"],
        Field(
            description="Common scale of all images. `pixel_size` needs the pixel size of all images, "
            "`object_diameter` measures objects of the ground truth. `auto` takes `pixel_size` if all pixel sizes "
            "are known and differ by more than a tenth; `object_diameter` if pixel sizes are unknown and objects of "
            "some images are more than twice as wide as in others, or if large objects are wider than 128 px; else "
            "`none`."
        ),
    ] = "auto"
    target_pixel_size_um: Annotated[
        Annotated[float, Field(gt=0, le=1000)] | None,
        UM,
        Field(
            description="Pixel size to rescale to, with rescale_by: pixel_size; null: their median. The median is "
            "that of the training images."
        ),
    ] = None
    target_diameter_px: Annotated[
        Annotated[float, Field(gt=0, le=1000)] | None,
        PX,
        Field(
            description="Diameter to rescale to, with rescale_by: object_diameter; null: their median. The median is "
            "that of the training images, and at least 20 px."
        ),
    ] = None
    preset: Annotated[
        Literal["auto", "fluorescence", "brightfield", "histology", "em", "mixed", "none"],
        Field(
            description="Kind of microscopy. It decides how patches are varied. All presets but `none` rotate, "
            "resize (0.75 to 1.33 times), bend, blur and add noise. `fluorescence` also varies exposure, contrast "
            "and gamma widely; `brightfield` (and phase contrast) varies focus and uneven light; `histology` varies "
            "hue, saturation and tint; `em` varies contrast and noise; `mixed` also inverts, swaps and tints "
            "channels, for sets of several kinds. `auto` decides by background and colors."
        ),
    ] = "auto"
    transforms: Annotated[
        list[TransformSettings] | None,
        Field(description="Transforms to use instead of the preset, in this order; null: those of the preset."),
    ] = None


class TrainSettings(Section):
    """Training of the networks."""

    seed: Seed = 0
    architecture: Annotated[
        Literal["Unet", "FPN", "Linknet", "PSPNet", "PlainUnet"],
        Field(
            description="Architecture of the network. Start with `Unet`; try `FPN` for objects of very different "
            "sizes. These have a backbone as encoder. `PlainUnet` is the original U-Net, without a backbone."
        ),
    ] = "Unet"
    # fmt: off
    backbone: Annotated[
        Literal[
            "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50", "resnext101", "seresnet18",
            "seresnet34", "seresnet50", "seresnet101", "seresnet152", "seresnext50", "seresnext101", "senet154",
            "vgg16", "vgg19", "densenet121", "densenet169", "densenet201", "inceptionv3", "inceptionresnetv2",
            "mobilenet", "mobilenetv2", "efficientnetb0", "efficientnetb1", "efficientnetb2", "efficientnetb3",
            "efficientnetb4", "efficientnetb5", "efficientnetb6", "efficientnetb7",
        ] | None,
        Field(
            description="Encoder of the network; docs/backbones.md lists all; null with PlainUnet. `resnet18` learns "
            "in minutes from few images; try `resnet34` or `efficientnetb0` with hundreds of annotated images and a "
            "GPU."
        ),
    ] = "resnet18"
    # fmt: on
    width: Annotated[
        Annotated[int, Field(ge=4, le=256)] | None,
        Field(description="Filters of PlainUnet at the finest level, doubled at each level below; null: 32."),
    ] = None
    depth: Annotated[
        Annotated[int, Field(ge=1, le=5)] | None,
        Field(description="Number of times PlainUnet halves the image; null: 4."),
    ] = None
    encoder_weights: Annotated[
        Name | None,
        Field(
            description="Initial weights: imagenet, a file, or an earlier model's folder; null: random. `imagenet` "
            "is downloaded before training and helps with few images, above all with color images. The folder of an "
            "earlier model, such as a copy of results/models/fold1, continues from it: channels and classes may "
            "differ. Paths are relative to the working directory."
        ),
    ] = None
    frozen_epochs: Annotated[
        int,
        EPOCHS,
        Field(
            ge=0, le=100_000, description="Epochs in which only the decoder learns, such as 5, with encoder_weights."
        ),
    ] = 0
    finetune_lr_factor: Annotated[
        PositiveFraction | None,
        Field(description="Factor on learning_rate for the epochs after frozen_epochs; null: 0.1."),
    ] = None
    deep_supervision: Annotated[
        list[Annotated[Weight, Field(description="Weight of the loss of a decoder level.")]],
        Field(
            max_length=4,
            description="Weights of losses on lower decoder levels, finest first, such as [0.5, 0.25]. They can help "
            "deep networks to learn sooner. The trained network has the same size, and val_loss is the loss of the "
            "full-size output.",
        ),
    ] = []
    losses: Annotated[
        dict[LossName, Weight],
        Field(
            description="Weights of the losses to add up: dice, cross_entropy, jaccard, tversky, focal. Raise `dice` "
            "or add `focal` if cells cover a small part of the image; use `tversky` if misses are worse than false "
            "positives."
        ),
    ] = {"dice": 1.0, "cross_entropy": 1.0}
    tversky_beta: Annotated[
        Annotated[float, Field(gt=0, lt=1)] | None,
        Field(
            description="Weight of missed pixels in the Tversky loss; null: 0.7. False positives weigh the rest to 1."
        ),
    ] = None
    class_weights: Annotated[
        Literal["none", "auto"] | dict[str, Annotated[Weight, Field(description="Weight of an output.")]],
        Field(
            description="Weights of the outputs in the losses. An example is {boundary: 3}; outputs that are not "
            "named weigh 1. `auto` gives outputs with few pixels more weight, by the inverse square root of their "
            "share.",
        ),
    ] = "none"
    optimizer: Annotated[
        Literal["adam", "adamw"],
        Field(description="Optimizer. Try `adamw` for long trainings of large networks."),
    ] = "adam"
    weight_decay: Annotated[
        PositiveFraction | None,
        Field(description="Weight decay of adamw; null: 0.01."),
    ] = None
    clip_norm: Annotated[
        Annotated[float, Field(gt=0, le=1_000_000)] | None,
        Field(description="Largest norm of a gradient; null: unlimited. Try 1 if the loss becomes NaN."),
    ] = None
    schedule: Annotated[
        Literal["cosine", "one_cycle", "plateau", "constant"],
        Field(
            description="Schedule of the learning rate. `cosine` suits most trainings. `one_cycle` warms up for "
            "three tenths of the training. `plateau` multiplies the rate by 0.3 after patience / 2 epochs without "
            "improvement."
        ),
    ] = "cosine"
    learning_rate: Annotated[
        Auto | PositiveFraction,
        Field(
            description="Largest learning rate. Lower it (0.0003) if the curves jump, raise it if they fall slowly. "
            "`auto` tries 100 rising rates and takes a tenth of the one with the smallest loss; worthwhile for long "
            "trainings."
        ),
    ] = 0.001
    batch_size: Annotated[
        Auto | Annotated[int, Field(ge=1, le=4096)],
        Field(description="Patches per step. `auto` takes 8 (16 on a GPU), or fewer if memory or patches are short."),
    ] = "auto"
    epochs: Annotated[
        int, EPOCHS, Field(ge=1, le=100_000, description="Largest number of epochs. Allow more if curves still fall.")
    ] = 60
    monitor: Annotated[
        str,
        Field(
            pattern=r"^val_[A-Za-z0-9_.-]+$",
            description="Column of history.csv that decides which epoch is the best, such as val_iou. The smallest "
            "value of a loss is the best, otherwise the largest.",
        ),
    ] = "val_loss"
    patience: Annotated[
        int,
        EPOCHS,
        Field(ge=1, le=100_000, description="Epochs without a better value of monitor after which training stops."),
    ] = 12
    min_delta: Annotated[
        float, Field(ge=0, le=1000, description="Smallest improvement of monitor that counts for patience.")
    ] = 0
    max_minutes: Annotated[
        Annotated[float, Field(gt=0, le=100_000)] | None,
        MINUTES,
        Field(
            description="Time limit of the training; null: none. With a limit, the weights depend on the machine's "
            "speed."
        ),
    ] = None
    precision: Annotated[
        Precision,
        Field(
            description="Precision of the computation. Weights stay float32. `auto` takes bfloat16 or float16 on "
            "GPUs that are faster with them, else float32."
        ),
    ] = "auto"
    device: Annotated[
        Device,
        RUNTIME,
        Field(description="Where the network runs. `auto` takes a GPU if there is one; `gpu` stops if there is none."),
    ] = "auto"
    gpus: Annotated[
        int, RUNTIME, Field(ge=1, le=64, description="Number of GPUs of one machine that share each batch of patches.")
    ] = 1
    xla: Annotated[
        bool,
        RUNTIME,
        Field(description="Compile the network with XLA. This is faster on most GPUs after a slow start."),
    ] = False
    deterministic: Annotated[
        bool,
        RUNTIME,
        Field(
            description="Give the same weights for the same seed on the same machine. This is a little slower. Set "
            "it to false if TensorFlow says that an operation has no deterministic GPU version."
        ),
    ] = True
    log_images_every: Annotated[
        int,
        RUNTIME,
        EPOCHS,
        Field(ge=0, le=100_000, description="Interval between images in logs/tensorboard; 0: no images."),
    ] = 5
    wandb_mode: Annotated[
        Literal["off", "offline", "online"],
        RUNTIME,
        Field(
            description="Logging to Weights & Biases, which has to be installed. `offline` keeps the log on this "
            "machine."
        ),
    ] = "off"


SweepValues = list[Any] | dict[str, Any]


class SelectModelSettings(Section):
    """Selection of the models that predict."""

    metric: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$",
            description="Column of history.csv to compare models by; auto: train.monitor, or val_iou. Choose "
            "val_loss, val_iou, or val_iou_ and the name of an output. `auto` takes val_iou if variants of a sweep "
            "differ in monitor or losses. With folds, the mean over the folds counts.",
        ),
    ] = "auto"
    ensemble: Annotated[
        Literal["auto", "all", "best"],
        Field(
            description="Models that predict together. Their mean probabilities count. `auto` takes all folds of the "
            "best variant, `best` only its best fold, `all` every model. Prediction takes as many times as long."
        ),
    ] = "auto"


class ExplainSettings(Section):
    """Explanation of the selected model by its validation patches."""

    n_examples: Annotated[
        int,
        Field(
            ge=0,
            le=20,
            description="Number of best and of worst validation patches to explain; 0: no explanation. 0 saves half "
            "a minute.",
        ),
    ] = 2
    layers: Annotated[
        Auto
        | Annotated[
            list[Annotated[Name, Field(description="Name of a layer.")]], *Unique, Field(min_length=1, max_length=40)
        ],
        Field(
            description="Layers whose activations are shown, such as [decoder_stage3b_relu]. `auto` takes one per "
            "level of encoder and decoder. The message about an unknown name lists all names."
        ),
    ] = "auto"


class PredictSettings(Section):
    """Prediction, tile by tile. The defaults suit most images; the report shows what `auto` chose."""

    engine: Annotated[
        Literal["auto", "tensorflow", "openvino"],
        Field(
            description="Library that runs the network. `auto` takes TensorFlow on a GPU, and OpenVINO on a CPU if "
            "it is installed, which is several times faster there."
        ),
    ] = "auto"
    precision: Annotated[
        Precision,
        Field(
            description="Precision of the computation. `auto` takes the fastest one of the device. A precision below "
            "float32 is only used if it passes the check of max_precision_iou_change."
        ),
    ] = "auto"
    max_precision_iou_change: Annotated[
        Fraction,
        Field(
            description="Largest IoU change that a lower precision may cause, on validation patches. If any output "
            "changes more, the network computes in float32."
        ),
    ] = 0.005
    tile_px: Annotated[
        Auto | Annotated[int, Field(ge=32, le=16384, multiple_of=32)],
        PX,
        Field(description="Side of a tile, halo included. `auto` takes the largest tiles that fit into memory."),
    ] = "auto"
    halo_px: Annotated[
        Auto | Annotated[int, Field(ge=0, le=4096, multiple_of=32)],
        PX,
        Field(
            description="Margin of each tile that is computed and discarded. Cells at tile borders are seen whole. "
            "`auto` takes the width that was measured on the selected model."
        ),
    ] = "auto"
    batch_tiles: Annotated[
        Auto | Annotated[int, Field(ge=1, le=1024)],
        RUNTIME,
        Field(description="Tiles per call of the network. More need more memory. `auto` depends on the device."),
    ] = "auto"
    test_time_augmentation: Annotated[
        Literal["none", "flips", "all"],
        Field(
            description="Flipped and rotated views of each tile to average. `flips` takes 4 times as long, `all` 8 "
            "times. It helps little if training patches were rotated too."
        ),
    ] = "none"
    rescale: Annotated[
        bool,
        Field(
            description="Rescale images to the model's pixel size if both pixel sizes are known and differ. The "
            "probabilities are scaled back."
        ),
    ] = True
    object_diameter_px: Annotated[
        Auto | Annotated[float, Field(gt=0, le=10_000)] | None,
        PX,
        Field(
            description="Diameter of the objects in the images. Images are rescaled to the objects of the training. "
            "`auto` measures it, for all images of a group together, if the model was trained with rescale_by: "
            "object_diameter, or if the images only look like the training images at another scale. A number holds for "
            "all images of the table. null rescales by pixel size only."
        ),
    ] = "auto"
    empty_contrast_threshold: Annotated[
        Fraction,
        Field(
            description="Regions with less relative contrast are background; 0: predict all. The contrast is a "
            "fraction of the range that becomes 0 to 1. Saves time on slides that are mostly empty. Start with 0.1 for "
            "fluorescence."
        ),
    ] = 0
    seam_check_windows: Annotated[
        int,
        Field(
            ge=0,
            le=10_000,
            description="Windows on tile borders per image to predict again without a border. evaluate compares the "
            "objects.",
        ),
    ] = 4
    device: Annotated[
        Device,
        RUNTIME,
        Field(description="Where the network runs. `auto` takes a GPU if there is one; `gpu` stops if there is none."),
    ] = "auto"


class SegmentSettings(Section):
    """Conversion of probabilities to labels. Quick to try: nothing is trained or predicted again."""

    foreground_threshold: Annotated[
        Auto | Probability,
        Field(
            description="Instances: probability above which a pixel belongs to a cell. Lower it if cells are too "
            "thin or missing, raise it if background is taken for cells. `auto` takes the value that was tuned on the "
            "validation patches of the selected models, and 0.5 without such patches."
        ),
    ] = "auto"
    seed_threshold: Annotated[
        Auto | Probability,
        Field(
            description="Instances: probability of interior above which a cell is seeded. Raise it if touching cells "
            "are merged, lower it if single cells are split or missing. `auto`: tuned like foreground_threshold, or "
            "0.8."
        ),
    ] = "auto"
    seed_depth_px: Annotated[
        Auto | Annotated[float, Field(ge=0, le=64)],
        PX,
        Field(
            description="Instances: a pixel of interior that is no farther than this from a pixel that is not interior "
            "belongs to no seed. Raise it if cells that a neck joins are merged, lower it if thin cells are split or "
            "merged. `auto`: tuned like foreground_threshold, or 0."
        ),
    ] = "auto"
    min_area_px: Annotated[
        Auto | Annotated[int, Field(ge=0, le=1_000_000_000)],
        PX,
        Field(
            description="Smallest area of an object. Smaller ones are removed, or merged into the neighbor they "
            "touch most. For task: semantic, they are only left out of the table. In a stack, this is the area of "
            "each cross-section. `auto`: tuned like foreground_threshold, or 16."
        ),
    ] = "auto"
    fill_holes: Annotated[bool, Field(description="Instances: fill holes in cells.")] = True
    min_area_um2: Annotated[
        Area | None,
        UM2,
        Field(
            description="Smallest area of an object in µm², used instead of min_area_px if given. Needs images with "
            "a known pixel size."
        ),
    ] = None
    max_hole_um2: Annotated[
        Area | None, UM2, Field(description="Largest hole to fill; null: holes of any size are filled.")
    ] = None
    stitch_threshold: Annotated[
        PositiveFraction | None,
        Field(
            description="Stacks: overlap to join cross-sections of adjacent planes; null: not stitched. The overlap "
            "is a fraction of the smaller cross-section, and each must be what the other overlaps most."
        ),
    ] = 0.5


class TrackSettings(Section):
    """Tracking of movies (task: instances). Motion and division rates are learned from each movie."""

    max_distance_px: Annotated[
        Annotated[float, Field(gt=0, le=100_000)] | None,
        PX,
        Field(
            description="Largest distance per frame from the expected position; null: learned. Set it if links are "
            "too long. It also limits gap closing, and daughters, measured from the rim of their mother."
        ),
    ] = None
    max_gap_frames: Annotated[
        int,
        FRAMES,
        Field(ge=0, le=20, description="Largest number of frames in which a cell may be missed; 0: no gap closing."),
    ] = 3
    interpolate_gaps: Annotated[
        bool,
        Field(
            description="Give missed cells masks interpolated from the frames before and after. Tables and exports "
            "mark them as `filled`."
        ),
    ] = True
    allow_divisions: Annotated[
        bool, Field(description="Whether cells may divide. Set it to false if your cells cannot divide.")
    ] = True
    correct_merges_and_splits: Annotated[
        bool,
        Field(
            description="Repair cells that are split or merged for up to three frames. lineage/repairs.parquet lists "
            "the repairs."
        ),
    ] = True
    animation: Annotated[
        Literal["none", "gif"],
        Field(
            description="Animation of each movie with outlines and tracks. `gif` writes tracks.gif, at most 512 px "
            "wide and 240 frames long; the report links to it."
        ),
    ] = "none"


class EvaluateSettings(Section):
    """Scores of labels and tracks against the ground truth."""

    iou_thresholds: Annotated[
        list[Annotated[float, Field(ge=0.5, lt=1, description="Intersection over union.")]],
        *Unique,
        Field(
            min_length=1,
            max_length=100,
            description="IoU above which a cell counts as found, from 0.5 (roughly) to 0.95 (almost exactly).",
        ),
    ] = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    min_seam_f1: Annotated[
        Fraction | None,
        Field(
            description="Smallest F1 between labels with and without tile borders; null: only reported. With a "
            "number such as 0.99, a batch with a lower F1 fails; raise predict.halo_px then. See "
            "predict.seam_check_windows."
        ),
    ] = None


class ReportSettings(Section):
    """The report."""

    title: Annotated[str, Field(min_length=1, max_length=200, description="Title of the report.")] = "Tessera"
    max_images: Annotated[int, Field(ge=0, le=10_000, description="Largest number of images to show, worst first.")] = (
        48
    )


class Settings(Section):
    """Settings of Tessera: one section per rule. A section or setting that is left out has its default."""

    images: Annotated[Name, Field(description="Path of the images table, relative to the working directory.")] = (
        "config/images.tsv"
    )
    task: Annotated[
        Literal["instances", "semantic"],
        Field(
            description="What to segment. `instances` gives each cell an id, to count, measure or track cells. "
            "`semantic` gives each pixel a class."
        ),
    ] = "instances"
    classes: Annotated[
        list[ClassName],
        *Unique,
        Field(
            min_length=2,
            max_length=255,
            description="Names of the classes, background first. For instances, two names.",
        ),
    ] = ["background", "cell"]
    batch_size: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="Largest number of images per job. Use fewer for huge images and many workers, more for very "
            "many tiny images. The column `batch` of the table takes precedence.",
        ),
    ] = 64
    model: Annotated[
        Name
        | Annotated[
            list[Annotated[Name, Field(description="Folder of a model.")]], *Unique, Field(min_length=1, max_length=32)
        ]
        | None,
        Field(
            description="Folder of an existing model, or a list, to apply instead of training; null: train. Relative "
            "to the working directory. No ground truth is needed."
        ),
    ] = None

    simulate: SimulateSettings = Field(default_factory=SimulateSettings)
    ingest: IngestSettings = Field(default_factory=IngestSettings)
    ingest_truth: IngestTruthSettings = Field(default_factory=IngestTruthSettings)
    split: SplitSettings = Field(default_factory=SplitSettings)
    augment: AugmentSettings = Field(default_factory=AugmentSettings)
    train: TrainSettings = Field(default_factory=TrainSettings)
    sweep: Annotated[
        dict[
            str, Annotated[SweepValues, Field(description="Values of a setting, or of settings that change together.")]
        ],
        Field(
            description="Values of settings of train to combine, such as {learning_rate: [0.001, 0.003]}. One model "
            "is trained for each combination. Write {setting: [values]}, {setting: {name: value}}, or {any name: "
            "{name: {setting: value}}} for settings that change together."
        ),
    ] = {}
    select_model: SelectModelSettings = Field(default_factory=SelectModelSettings)
    explain: ExplainSettings = Field(default_factory=ExplainSettings)
    predict: PredictSettings = Field(default_factory=PredictSettings)
    segment: SegmentSettings = Field(default_factory=SegmentSettings)
    track: TrackSettings = Field(default_factory=TrackSettings)
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings)
    report: ReportSettings = Field(default_factory=ReportSettings)


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
"""{name of a section: its class}, in the order of the configuration."""
