"""Networks: architectures, initial weights, devices and the folders of models."""
