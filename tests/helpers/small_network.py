"""A network that learns to find discs in seconds on a CPU."""

from tessera.settings.sections import TrainSettings

SMALL_NETWORK = TrainSettings(
    architecture="PlainUnet",
    backbone=None,
    width=8,
    depth=2,
    learning_rate=0.01,
    batch_size=8,
    epochs=10,
    device="cpu",
)
