"""Reading and writing images, labels and annotations: readers, OME-Zarr, pyramids, regions of interest."""
