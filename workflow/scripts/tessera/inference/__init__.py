"""Inference: trained networks applied to images of any size.

From the inside out:

- A backend (`backends`) runs one network with TensorFlow or OpenVINO, in a precision that `precision_check` has tested.
- An ensemble (`ensemble`) averages several models and several views of the same pixels.
- Tiles (`tiling`) cut a plane into pieces that fit in memory. `halo_size` measures the margin that a network needs.
- `tile_predictor` reads the tiles of one image, brings them to the scale of the model and predicts them.
- `predict_image` goes through an image region by region. `region_cache` keeps finished regions, `empty_regions` skips
  regions without contrast, `diameter_estimation` finds the scale of an image.
- `seam_windows` predicts windows across the borders of tiles again, so that rule `evaluate` can check for seams.
"""
