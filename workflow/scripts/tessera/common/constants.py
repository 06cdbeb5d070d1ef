"""Constants that several subpackages share, among them the layout of model folders.

Used at plan time, so this module needs the standard library only.
"""

INSTANCE_OUTPUTS = ["background", "interior", "boundary"]
IGNORE = 255  # in class images: the class of the pixel is unknown
UNKNOWN = -1  # in instance labels: nobody annotated the pixel
DIVISOR = 32  # the sides of a network's input are multiples of this, in pixels

# In the folder of a model.
FORMAT = "tessera-model/1"
SETTINGS, WEIGHTS, SAVED_MODEL = "model.json", "model.weights.h5", "saved_model"
HISTORY, CURVES, RATES, LAST = "history.csv", "curves.png", "rates.png", "last.weights.h5"
VALIDATION = "validation.zarr"  # some validation patches, so that users of the model can check its predictions

CONVERTED = ".xml"
