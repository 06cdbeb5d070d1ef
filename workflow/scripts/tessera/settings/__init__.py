"""Settings and columns of the images table: types, ranges, defaults and descriptions."""
