"""Conventions that networks are trained, kept and used by.

Used when Snakemake plans, so it needs the standard library only.
"""

INSTANCE_OUTPUTS = ["background", "interior", "boundary"]
IGNORE = 255  # in class images: the class of the pixel is unknown
UNKNOWN = -1  # in instance labels: nobody annotated the pixel
DIVISOR = 32  # of the sides of what a network is given, in pixels

# In the folder of a model.
FORMAT = "tessera-model/1"
SETTINGS, WEIGHTS, SAVED_MODEL = "model.json", "model.weights.h5", "saved_model"
HISTORY, CURVES, RATES, LAST = "history.csv", "curves.png", "rates.png", "last.weights.h5"
VALIDATION = "validation.zarr"  # some validation patches, with which whoever uses the model can check it

CONVERTED = ".xml"
