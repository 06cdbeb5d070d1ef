"""Segmentation: from probabilities to labels, objects and their measurements.

Rule `segment` never holds an image in memory. Its threads go over blocks of the planes twice:

1. Each block is split into connected components (`seeded_growth` for cells, `semantic_components` for classes).
   `connected_components` joins the components across the borders of blocks and numbers them by their first pixels.
   `fragment_merging` then decides, for whole components, which are cells, which cell gets a component that is too
   small, and which gaps are holes. `z_stitching` joins cross-sections of stacks by their overlap.
2. Each block is written with the ids of its objects and measured. `region_properties` computes sums over pixels that
   add up over blocks; `object_table` appends an object to the table as soon as no later block can contain a part of it.

`segment_image` runs both passes for one image. Labels and objects do not depend on the size of the blocks or on the
number of threads. The order of the rows of the table depends on the size of the blocks.
"""
