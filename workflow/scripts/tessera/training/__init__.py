"""Training: the trainer and its model, losses, learning rates, checkpoints, loggers, model export and selection.

Where to look: the loss is in `losses`, the learning rate in `learning_rate`, the optimizer in `optimizer`, the number
of patches per step in `batch_size`, the end of a training in `early_stopping`, resuming in `checkpoint`, TensorBoard
and Weights & Biases in `loggers`, devices and precision in `tessera.networks.devices`.
"""
