"""Training data: normalization, rescaling, patches, augmentation, the split, fingerprints and simulation."""
