"""Constants that several subpackages share, among them the layout of model folders.

Used at plan time, so this module needs the standard library only.
"""

INSTANCE_OUTPUTS = ["background", "interior", "boundary"]
IGNORE = 255  # in class images: the class of the pixel is unknown
UNKNOWN = -1  # in instance labels: nobody annotated the pixel
SIZE_DIVISOR = 32  # height and width of a network's input are multiples of this, in pixels

# In the folder of a model.
MODEL_FORMAT = "tessera-model/1"
MODEL_JSON, WEIGHTS_H5, SAVED_MODEL_FOLDER = "model.json", "model.weights.h5", "saved_model"
LAST_WEIGHTS_H5 = "last.weights.h5"  # the weights of the last epoch; WEIGHTS_H5 has those of the best one
HISTORY_CSV, CURVES_PNG = "history.csv", "curves.png"
RANGE_TEST_PNG = "rates.png"  # plot of the learning rate range test
VALIDATION_ZARR = "validation.zarr"  # some validation patches, so that users of the model can check its predictions

OPENVINO_SUFFIX = ".xml"  # of a model that was converted for OpenVINO
