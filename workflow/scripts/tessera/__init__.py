"""Tessera: from microscopy files to segmentations, tracks, measurements and a report."""
