"""Metrics, scores, the seam audit and calibration."""
