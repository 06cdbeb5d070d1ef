"""Tiling, back ends, ensembles, prediction and seam windows."""
