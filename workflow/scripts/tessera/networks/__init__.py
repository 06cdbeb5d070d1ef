"""Architectures, weights, devices and model folders."""
